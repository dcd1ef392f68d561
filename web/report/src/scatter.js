// One picture of the cells.

import createScatterplot from 'regl-scatterplot';
import { currentTheme, grey } from './colours.js';
import { isWithin, Lasso } from './lasso.js';

const GROUNDS = { light: '#ffffff', dark: '#1c2229' };
const MOST_NAMES = 30;

// Dots that neither vanish nor cover each other, whatever their number.
const pointSize = (n) => Math.max(1.6, Math.min(7, 260 / Math.sqrt(n)));
const opacity = (n) => Math.max(0.45, Math.min(0.9, 60 / Math.sqrt(n)));

export class Scatter {
  // handlers: select(cells), deselect(), over(cell), out(), lost().
  constructor(figure, places, renderer, handlers) {
    this.figure = figure;
    this.places = places;
    this.canvas = figure.querySelector('canvas');
    this.names = figure.querySelector('.names');
    this.still = figure.querySelector('img');
    this.n = places.x.length;
    this.plot = createScatterplot({
      renderer,
      canvas: this.canvas,
      width: 'auto',
      height: 'auto',
      pointSize: pointSize(this.n),
      pointSizeSelected: 1,
      pointOutlineWidth: 1.5,
      opacity: opacity(this.n),
      opacityInactiveMax: 0.25,
      lassoMinDelay: 8,
      lassoMinDist: 2,
      deselectOnDblClick: true,
      pointScaleMode: 'asinh',
      colorBy: 'valueA',
    });
    this.plot.subscribe('select', ({ points }) => handlers.select(points));
    this.plot.subscribe('deselect', () => handlers.deselect());
    this.plot.subscribe('pointOver', (cell) => handlers.over(cell));
    this.plot.subscribe('pointOut', () => handlers.out());
    this.plot.subscribe('view', () => this.#placeNames());
    this.lasso = new Lasso(figure.querySelector('.canvas'), (ring) => handlers.select(this.#cellsWithin(ring)));
  }

  // Draw with the colours of a colouring.
  async show(colouring) {
    this.colouring = colouring;
    this.#setColours();
    const index = this.plot.get('spatialIndex');
    await this.plot.draw(
      { x: this.places.x, y: this.places.y, valueA: colouring.codes },
      { zDataType: 'categorical', preventFilterReset: true, ...(index && { spatialIndex: index }) },
    );
    this.#nameCategories();
  }

  // After the theme has changed.
  repaint() {
    this.#setColours();
    this.#nameCategories();
  }

  select(cells) {
    if (cells.length) this.plot.select(cells, { preventEvent: true });
    else this.plot.deselect({ preventEvent: true });
  }

  setMode(mode) {
    this.lasso.setActive(mode === 'lasso');
  }

  zoom(factor) {
    const [x, y] = this.plot.get('cameraTarget');
    const distance = this.plot.get('cameraDistance');
    this.plot.zoomToLocation([x, y], Array.isArray(distance) ? distance[0] / factor : distance / factor);
  }

  showAll() {
    this.plot.zoomToOrigin();
  }

  // A picture that can be printed.
  freeze() {
    this.still.src = drawStill(this.places, this.colouring, 900);
  }

  // Give up on WebGL, which the browser has taken away.
  stopMoving() {
    this.freeze();
    this.figure.querySelector('.canvas').classList.add('still');
    this.lasso.setActive(false);
    try {
      this.plot.destroy();
    } catch (error) {
      console.warn(error);
    }
  }

  #cellsWithin(ring) {
    const { x, y } = this.places;
    const toScreen = this.#screenScale();
    const found = [];
    for (let cell = 0; cell < this.n; cell++) {
      const left = toScreen.left + toScreen.perX * x[cell];
      const top = toScreen.top + toScreen.perY * y[cell];
      if (isWithin(ring, left, top)) found.push(cell);
    }
    return found;
  }

  // How places become pixels, as told by two cells that are far from each other.
  #screenScale() {
    const { x, y } = this.places;
    const farthest = (values) => {
      let [low, high] = [0, 0];
      for (let cell = 1; cell < this.n; cell++) {
        if (values[cell] < values[low]) low = cell;
        if (values[cell] > values[high]) high = cell;
      }
      return [low, high];
    };
    const scale = (values, axis) => {
      const [low, high] = farthest(values).map((cell) => [values[cell], this.plot.getScreenPosition(cell)[axis]]);
      const per = high[0] > low[0] ? (high[1] - low[1]) / (high[0] - low[0]) : 0;
      return [low[1] - per * low[0], per];
    };
    const [[left, perX], [top, perY]] = [scale(x, 0), scale(y, 1)];
    return { left, top, perX, perY };
  }

  #setColours() {
    const colours = this.colouring.colours();
    this.plot.set({
      backgroundColor: GROUNDS[currentTheme()],
      pointColor: colours,
      pointColorActive: colours,
      pointColorHover: currentTheme() === 'dark' ? '#ffffff' : '#000000',
      lassoColor: currentTheme() === 'dark' ? '#ffffff' : '#333333',
      pointOrder: this.colouring.order,
    });
  }

  #nameCategories() {
    this.names.replaceChildren();
    const { kind, labels, counts, codes } = this.colouring;
    if (kind !== 'category' || labels.length - 1 > MOST_NAMES) return;
    for (const [place, label] of labels.entries()) {
      if (!counts[place] || place === labels.length - 1) continue;
      const span = document.createElement('span');
      span.textContent = label;
      span.dataset.cell = middleCell(this.places, codes, place);
      span.dataset.n = counts[place];
      this.names.append(span);
    }
    // The names of large categories come first, and stay where others would lie on them.
    this.names.append(...[...this.names.children].sort((a, b) => b.dataset.n - a.dataset.n));
    this.#placeNames();
  }

  #placeNames() {
    const taken = [];
    for (const span of this.names.children) {
      const place = this.plot.getScreenPosition(Number(span.dataset.cell));
      span.hidden = !place;
      if (place) {
        // Whole within the picture, also beside its edge.
        const [half, room] = [span.offsetWidth / 2 + 3, this.names.clientWidth];
        span.style.left = `${Math.max(half, Math.min(place[0], room - half))}px`;
        span.style.top = `${place[1]}px`;
        const own = span.getBoundingClientRect();
        span.hidden = taken.some((other) => overlap(own, other));
        if (!span.hidden) taken.push(own);
      }
    }
  }
}

const overlap = (a, b) =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

const N_BOXES = 20;

// A cell of a category in the box of a grid that holds most of its cells: never in a gap.
const middleCell = ({ x, y }, codes, category) => {
  const boxes = new Map();
  for (let cell = 0; cell < codes.length; cell++) {
    if (codes[cell] !== category) continue;
    const box = Math.floor((x[cell] + 1) * N_BOXES) * 1000 + Math.floor((y[cell] + 1) * N_BOXES);
    if (!boxes.has(box)) boxes.set(box, []);
    boxes.get(box).push(cell);
  }
  const fullest = [...boxes.values()].reduce((a, b) => (b.length > a.length ? b : a));
  return fullest[fullest.length >> 1];
};

// All cells on a plain canvas, for paper and for browsers without WebGL.
export const drawStill = ({ x, y }, colouring, side) => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = side;
  const context = canvas.getContext('2d');
  const colours = colouring.colours();
  const radius = Math.max(1, Math.min(4, (130 / Math.sqrt(x.length)) * (side / 900)));
  context.globalAlpha = opacity(x.length);
  for (const cell of colouring.order ?? x.keys()) {
    context.fillStyle = colours[colouring.codes[cell]] ?? grey();
    context.beginPath();
    context.arc(((x[cell] + 1) / 2) * side, ((1 - y[cell]) / 2) * side, radius, 0, 2 * Math.PI);
    context.fill();
  }
  return canvas.toDataURL('image/png');
};
