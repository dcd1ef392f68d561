// Fingers draw a lasso as a mouse does, to which alone the pictures listen.

const AS_MOUSE = {
  pointerdown: 'mousedown',
  pointermove: 'mousemove',
  pointerup: 'mouseup',
  pointercancel: 'mouseup',
};

export const followFingers = (canvas, isDrawing) => {
  for (const [name, asMouse] of Object.entries(AS_MOUSE)) {
    canvas.addEventListener(name, (event) => {
      if (event.pointerType === 'mouse' || !event.isPrimary || !isDrawing()) return;
      event.preventDefault();
      const { clientX, clientY } = event;
      const buttons = asMouse === 'mouseup' ? 0 : 1;
      const target = asMouse === 'mouseup' ? window : canvas;
      target.dispatchEvent(
        new MouseEvent(asMouse, { bubbles: true, cancelable: true, clientX, clientY, button: 0, buttons }),
      );
    });
  }
};
