// What is told of the cells that are selected: how many of each category, and their top genes.

import { element, table } from './elements.js';

const N_GENES = 15;
const N_CATEGORIES = 12;
const percent = (share) => `${(100 * share).toFixed(0)}%`;

export class Selection {
  // actions: clear(), chooseGene(gene).
  constructor(place, cells, genes, actions) {
    Object.assign(this, { place, cells, genes, actions });
    this.turn = 0;
    this.showNothing();
  }

  showNothing() {
    this.turn += 1;
    this.place.replaceChildren(
      element('p', { class: 'hint' }, 'No cells are selected. Draw a lasso around some, or choose a category in the legend.'),
    );
  }

  async show(selected, colouring) {
    const turn = ++this.turn;
    const head = this.#head(selected);
    const lists = element('div', { class: 'lists' });
    if (colouring.kind === 'category') lists.append(countCategories(selected, colouring));
    const waiting = element('p', { class: 'hint' }, 'Comparing genes …');
    lists.append(waiting);
    this.place.replaceChildren(...head, lists);
    const [top, names] = await Promise.all([this.genes.top(selected, N_GENES), this.genes.names()]);
    if (turn === this.turn) waiting.replaceWith(this.#topGenes(top, names, selected.length));
  }

  #head(selected) {
    const share = percent(selected.length / this.cells.n);
    const clear = element('button', { type: 'button', onclick: () => this.actions.clear() }, 'Clear');
    const save = element('button', { type: 'button', onclick: () => this.#save(selected) }, 'Save their names');
    return [
      element('h3', { role: 'status' }, `${selected.length.toLocaleString('en')} cells selected (${share})`),
      element('p', {}, clear, ' ', save),
    ];
  }

  async #save(selected) {
    const names = await this.cells.payload.texts('cell_names');
    const text = `${selected.map((cell) => names[cell]).join('\n')}\n`;
    const address = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
    element('a', { href: address, download: 'selected-cells.txt' }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  #whyNone(nSelected) {
    const nOthers = this.cells.n - nSelected;
    if (nSelected < 2 || nOthers < 2) return 'Genes are compared where at least two cells are selected, and two are not.';
    return 'No gene is higher in these cells than in the others.';
  }

  #topGenes(top, names, nSelected) {
    if (!top.length) return element('p', { class: 'hint' }, this.#whyNone(nSelected));
    const rows = top.map((each) => [
      element('button', { type: 'button', title: 'Colour by this gene', onclick: () => this.actions.chooseGene(each.gene) }, names[each.gene]),
      each.meanIn.toFixed(2),
      each.meanOut.toFixed(2),
      percent(each.shareIn),
      percent(each.shareOut),
      Number.isFinite(each.t) ? each.t.toFixed(1) : '∞',
    ]);
    const made = table(['Gene', 'mean', 'others', 'expressed', 'others', 't'], rows);
    made.prepend(element('caption', {}, 'Genes of the page that are higher than in its other cells, by Welch’s t of log counts'));
    return made;
  }
}

const countCategories = (selected, colouring) => {
  const counts = new Map();
  for (const cell of selected) counts.set(colouring.codes[cell], (counts.get(colouring.codes[cell]) ?? 0) + 1);
  const ordered = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const rows = ordered.slice(0, N_CATEGORIES).map(([category, n]) => [
    colouring.labels[category],
    n.toLocaleString('en'),
    percent(n / selected.length),
    percent(n / colouring.counts[category]),
  ]);
  const made = table([colouring.name, 'cells', 'of selection', 'of category'], rows);
  if (ordered.length > N_CATEGORIES) made.append(element('caption', {}, `and ${ordered.length - N_CATEGORIES} more`));
  return made;
};
