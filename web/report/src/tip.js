// What is told of the cell that is pointed at.

import { element } from './elements.js';

const MOST_ROWS = 14;

export class Tip {
  constructor(place, cells) {
    Object.assign(this, { place, cells });
    this.pointer = [0, 0];
    this.turn = 0;
    addEventListener('pointermove', (event) => {
      this.pointer = [event.clientX, event.clientY];
      if (!place.hidden) this.#move();
    });
  }

  async show(cell, colouring) {
    const turn = ++this.turn;
    const { name, rows } = await this.cells.describe(cell);
    if (turn !== this.turn) return;
    const others = rows.filter(([column]) => column !== colouring.name);
    const all = [[colouring.name, colouring.textOf(cell)], ...others];
    const terms = all
      .slice(0, MOST_ROWS)
      .flatMap(([column, value]) => [element('dt', {}, column), element('dd', {}, value)]);
    this.place.replaceChildren(element('strong', {}, name), element('dl', {}, ...terms));
    this.place.hidden = false;
    this.#move();
  }

  hide() {
    this.turn += 1;
    this.place.hidden = true;
  }

  #move() {
    const [x, y] = this.pointer;
    const { width, height } = this.place.getBoundingClientRect();
    const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
    const top = Math.min(y + 12, innerHeight - height - 6);
    this.place.style.left = `${Math.max(4, left)}px`;
    this.place.style.top = `${Math.max(4, top)}px`;
  }
}
