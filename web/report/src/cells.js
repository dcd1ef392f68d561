// Columns of obs, and names of cells.

export class Cells {
  constructor(payload) {
    this.payload = payload;
    this.n = payload.description.n_cells;
    this.columns = payload.description.columns;
    this.missing = payload.description.missing;
    this.palette = payload.description.palette;
  }

  // Where each cell stands in a picture: x and y between -0.95 and 0.95.
  async places(view) {
    const packed = await this.payload.array(`view_${view}`, Uint16Array);
    const x = new Float32Array(this.n);
    const y = new Float32Array(this.n);
    for (let i = 0; i < this.n; i++) {
      x[i] = (packed[2 * i] / 65535 - 0.5) * 1.9;
      y[i] = (packed[2 * i + 1] / 65535 - 0.5) * 1.9;
    }
    return { x, y };
  }

  values(place) {
    const kind = this.columns[place].kind === 'number' ? Float32Array : Uint16Array;
    return this.payload.array(`column_${place}`, kind);
  }

  // What stands in each column for one cell, as text.
  async describe(cell) {
    const names = await this.payload.texts('cell_names');
    const rows = [];
    for (const [place, column] of this.columns.entries()) {
      const value = (await this.values(place))[cell];
      rows.push([column.name, await this.#asText(place, column, value)]);
    }
    return { name: names[cell], rows };
  }

  async #asText(place, column, value) {
    if (column.kind === 'number') return Number.isNaN(value) ? '–' : formatNumber(value);
    if (value === this.missing) return '–';
    const texts =
      column.kind === 'text' ? await this.payload.texts(`texts_${place}`) : column.categories;
    return texts[value];
  }
}

export const formatNumber = (value) => {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return value.toExponential(2);
  const digits = size < 100 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 1 };
  return value.toLocaleString('en', digits);
};
