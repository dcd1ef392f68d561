// The explorer of a report: pictures of the same cells, coloured and selected together.

import { createRenderer } from 'regl-scatterplot';
import { Cells } from './cells.js';
import { colourByColumn, colourByGene } from './colouring.js';
import { element } from './elements.js';
import { Genes } from './genes.js';
import { pressLegend, showLegend } from './legend.js';
import { Payload } from './payload.js';
import { drawStill, Scatter } from './scatter.js';
import { GeneSearch } from './search.js';
import { Selection } from './selection.js';
import { setUpTheme } from './theme.js';
import { Tip } from './tip.js';

const $ = (id) => document.getElementById(id);

class Explorer {
  constructor(payload) {
    this.cells = new Cells(payload);
    this.genes = new Genes(payload);
    this.titles = payload.description.views;
    this.pictures = [];
    this.selected = [];
    this.category = null;
    this.turn = 0;
    this.tip = new Tip($('tip'), this.cells);
    this.selection = new Selection($('selection'), this.cells, this.genes, {
      clear: () => this.select([]),
      chooseGene: (gene) => this.colourByGene(gene),
    });
  }

  async open(firstColumn) {
    $('explorer').hidden = false;
    this.#listColumns(firstColumn);
    const places = await Promise.all(this.titles.map((_, view) => this.cells.places(view)));
    this.colouring = await colourByColumn(this.cells, Number($('colour-by').value));
    const figures = this.titles.map(makeFigure);
    $('views').append(...figures);
    this.pictures = openPictures(figures, places, this.#handlers());
    await this.#paint();
    this.#listen();
    this.search = new GeneSearch($('gene'), $('gene-list'), await this.genes.names(), (gene) => this.colourByGene(gene));
  }

  async colourBy(place) {
    $('gene').value = '';
    await this.#colour(() => colourByColumn(this.cells, place));
  }

  async colourByGene(gene) {
    const name = (await this.genes.names())[gene];
    $('gene').value = name;
    $('colour-by').value = '';
    await this.#colour(() => colourByGene(this.genes, gene, name));
  }

  // Of two that are asked for quickly, one after the other, the second is shown.
  async #colour(make) {
    const turn = ++this.turn;
    const colouring = await make();
    if (turn !== this.turn) return;
    this.colouring = colouring;
    this.category = null;
    await this.#paint();
  }

  select(cells, category = null) {
    this.selected = cells;
    this.category = category;
    pressLegend($('legend'), category);
    for (const picture of this.pictures) picture.select(cells);
    if (cells.length) this.selection.show(cells, this.colouring);
    else this.selection.showNothing();
  }

  repaint() {
    for (const picture of this.pictures) picture.repaint();
    if (this.colouring) this.#showLegend();
  }

  stopMoving() {
    $('hint').textContent = STILL;
    const places = this.pictures.map((picture) => picture.places);
    for (const picture of this.pictures) picture.stopMoving();
    this.pictures = [...document.querySelectorAll('.view')].map((figure, view) => new StillPicture(figure, places[view]));
    for (const picture of this.pictures) picture.show(this.colouring);
  }

  #listColumns(firstColumn) {
    const choices = [...this.cells.columns.entries()].filter(([, column]) => column.kind !== 'text');
    $('colour-by').append(element('option', { value: '', disabled: '', hidden: '' }, 'a gene'));
    $('colour-by').append(...choices.map(([place, column]) => element('option', { value: place }, column.name)));
    const first = choices.find(([, column]) => column.name === firstColumn) ?? choices[0];
    $('colour-by').value = String(first[0]);
  }

  #handlers() {
    return {
      select: (cells) => this.select(cells),
      deselect: () => this.select([]),
      over: (cell) => this.tip.show(cell, this.colouring),
      out: () => this.tip.hide(),
      lost: () => this.stopMoving(),
    };
  }

  async #paint() {
    this.#showLegend();
    await Promise.all(this.pictures.map((picture) => picture.show(this.colouring)));
    if (this.selected.length) this.select(this.selected);
  }

  #showLegend() {
    showLegend($('legend'), this.colouring, (category) => {
      if (category === this.category) return this.select([]);
      const own = [];
      this.colouring.codes.forEach((code, cell) => code === category && own.push(cell));
      return this.select(own, category);
    });
    pressLegend($('legend'), this.category);
  }

  #listen() {
    $('colour-by').addEventListener('change', (event) => this.colourBy(Number(event.target.value)));
    const setMode = (mode) => {
      for (const picture of this.pictures) picture.setMode(mode);
      $('mode-move').setAttribute('aria-pressed', String(mode === 'panZoom'));
      $('mode-lasso').setAttribute('aria-pressed', String(mode === 'lasso'));
    };
    $('mode-move').addEventListener('click', () => setMode('panZoom'));
    $('mode-lasso').addEventListener('click', () => setMode('lasso'));
    $('zoom-in').addEventListener('click', () => this.#each((picture) => picture.zoom(1.5)));
    $('zoom-out').addEventListener('click', () => this.#each((picture) => picture.zoom(1 / 1.5)));
    $('zoom-all').addEventListener('click', () => this.#each((picture) => picture.showAll()));
    addEventListener('keydown', (event) => event.key === 'Escape' && this.selected.length && this.select([]));
    addEventListener('beforeprint', () => this.#each((picture) => picture.freeze()));
  }

  #each(act) {
    this.pictures.forEach(act);
  }
}

const makeFigure = (title) =>
  element(
    'figure',
    { class: 'view' },
    element('figcaption', {}, title),
    element('div', { class: 'canvas' }, element('canvas', { 'aria-label': `Cells: ${title}`, role: 'img' }), element('img', { alt: `Cells: ${title}` }), element('div', { class: 'names' })),
  );

const STILL =
  'This browser does not draw with WebGL: the pictures are still, and cells are selected in the legend.';

const openPictures = (figures, places, handlers) => {
  try {
    const renderer = createRenderer();
    renderer.canvas.addEventListener('webglcontextlost', handlers.lost);
    return figures.map((figure, view) => new Scatter(figure, places[view], renderer, handlers));
  } catch (error) {
    console.warn(error);
    $('hint').textContent = STILL;
    return figures.map((figure, view) => new StillPicture(figure, places[view]));
  }
};

// In the place of a Scatter where there is no WebGL.
class StillPicture {
  constructor(figure, places) {
    this.places = places;
    this.image = figure.querySelector('img');
    figure.querySelector('.canvas').classList.add('still');
  }

  async show(colouring) {
    this.colouring = colouring;
    this.repaint();
  }

  repaint() {
    if (this.colouring) this.image.src = drawStill(this.places, this.colouring, 900);
  }

  select() {}
  setMode() {}
  zoom() {}
  showAll() {}
  freeze() {}
}

const start = async () => {
  const payload = new Payload(document);
  const explorer = new Explorer(payload);
  setUpTheme($('theme'), () => explorer.repaint());
  await explorer.open(payload.description.first_column);
  if (payload.description.opens_on_gene) await explorer.colourByGene(0);
  document.documentElement.dataset.ready = 'true';
};

start().catch((error) => {
  console.error(error);
  $('hint').textContent = `The pictures could not be drawn: ${error.message}`;
});
