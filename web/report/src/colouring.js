// What cells are coloured by: for each cell the place of its colour, and a legend.

import { colourOfCategory, grey, ramp } from './colours.js';
import { formatNumber } from './cells.js';

// Of a column of obs.
export const colourByColumn = async (cells, place) => {
  const column = cells.columns[place];
  const values = await cells.values(place);
  if (column.kind === 'number') return byNumbers(column.name, values, column.range);
  return byCategories(column, values, cells.missing, cells.palette);
};

// Of a gene: from none to the highest, cells with more drawn above the others.
export const colourByGene = async (genes, gene, name) => {
  const values = await genes.expression(gene);
  const highest = values.reduce((a, b) => Math.max(a, b), 0);
  return byNumbers(`${name}, log counts`, values, [0, highest || 1]);
};

const byCategories = (column, values, missing, palette) => {
  const n = column.categories.length;
  const codes = Uint16Array.from(values, (value) => (value === missing ? n : value));
  const counts = new Uint32Array(n + 1);
  for (const code of codes) counts[code] += 1;
  return {
    name: column.name,
    kind: 'category',
    codes,
    order: shuffled(codes.length),
    colours: () => [...column.categories.map((_, place) => colourOfCategory(palette, place)), grey()],
    labels: [...column.categories, 'missing'],
    counts,
    textOf: (cell) => (codes[cell] === n ? '–' : column.categories[codes[cell]]),
  };
};

// One order for all pictures, so that cells of the last category do not cover the others.
const shuffled = (n) => {
  const order = Array.from({ length: n }, (_, cell) => cell);
  let state = 12345;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
};

const byNumbers = (name, values, [low, high]) => {
  const steps = ramp().length;
  const scale = high > low ? (steps - 1) / (high - low) : 0;
  const codes = Uint16Array.from(values, (value) =>
    Number.isFinite(value) ? Math.round((value - low) * scale) : steps,
  );
  const rank = (cell) => (codes[cell] === steps ? -1 : codes[cell]);
  const order = Array.from(codes.keys()).sort((a, b) => rank(a) - rank(b) || a - b);
  return {
    name,
    kind: 'number',
    codes,
    order,
    colours: () => [...ramp(), grey()],
    ends: [formatNumber(low), formatNumber(high)],
    textOf: (cell) => formatNumber(values[cell]),
  };
};
