// A lasso that is drawn above a picture, by a mouse or a finger: the cells need not be drawn again
// while it grows.

const LEAST_STEP = 3;
const SVG = 'http://www.w3.org/2000/svg';

export class Lasso {
  // finish(ring): the places of the line, in pixels of the area.
  constructor(area, finish) {
    this.sheet = document.createElementNS(SVG, 'svg');
    this.sheet.setAttribute('class', 'lasso');
    this.line = document.createElementNS(SVG, 'path');
    this.sheet.append(this.line);
    area.append(this.sheet);
    this.finish = finish;
    this.ring = null;
    this.sheet.addEventListener('pointerdown', (event) => this.#begin(event));
    this.sheet.addEventListener('pointermove', (event) => this.#extend(event));
    this.sheet.addEventListener('pointerup', () => this.#end());
    this.sheet.addEventListener('pointercancel', () => this.#drop());
  }

  setActive(isActive) {
    this.sheet.classList.toggle('active', isActive);
    this.#drop();
  }

  #begin(event) {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.sheet.setPointerCapture(event.pointerId);
    this.ring = [placeOf(event)];
  }

  #extend(event) {
    if (!this.ring || !event.isPrimary) return;
    const [x, y] = placeOf(event);
    const [lastX, lastY] = this.ring.at(-1);
    if (Math.hypot(x - lastX, y - lastY) < LEAST_STEP) return;
    this.ring.push([x, y]);
    this.line.setAttribute('d', `M${this.ring.map((place) => place.join(' ')).join('L')}Z`);
  }

  #end() {
    const ring = this.ring;
    this.#drop();
    if (ring && ring.length > 2) this.finish(ring);
  }

  #drop() {
    this.ring = null;
    this.line.removeAttribute('d');
  }
}

const placeOf = (event) => [event.offsetX, event.offsetY];

// Whether a place lies within a ring: a ray from it crosses the ring an odd number of times.
export const isWithin = (ring, x, y) => {
  let within = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i];
    const [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
};
