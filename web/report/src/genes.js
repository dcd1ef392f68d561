// Expression of genes: log counts on 255 steps, decoded block by block.

export class Genes {
  constructor(payload) {
    this.payload = payload;
    this.nCells = payload.description.n_cells;
    Object.assign(this, payload.description.genes);
  }

  names() {
    return this.payload.texts('gene_names');
  }

  // Calls visit(gene, cells, values) for each gene of a block; cells ascend.
  async #visitBlock(block, visit) {
    const sizes = await this.payload.array('gene_sizes', Uint32Array);
    const bytes = await this.payload.array(`genes_${block}`, Uint8Array);
    const n = bytes.length / 3;
    const first = block * this.in_block;
    let at = 0;
    for (let gene = first; gene < Math.min(first + this.in_block, this.n); gene++) {
      const size = sizes[gene];
      const cells = new Uint32Array(size);
      let cell = 0;
      for (let i = 0; i < size; i++) {
        cell += bytes[at + i] + 256 * bytes[n + at + i];
        cells[i] = cell;
      }
      visit(gene, cells, bytes.subarray(2 * n + at, 2 * n + at + size));
      at += size;
    }
  }

  // Log counts of one gene in all cells.
  async expression(gene) {
    const values = new Float32Array(this.nCells);
    await this.#visitBlock(Math.floor(gene / this.in_block), (each, cells, steps) => {
      if (each !== gene) return;
      for (let i = 0; i < cells.length; i++) values[cells[i]] = steps[i] * this.step;
    });
    return values;
  }

  // Genes with higher log counts in some cells than in the others, by Welch's t; the highest first.
  async top(selected, nShown) {
    const inside = new Uint8Array(this.nCells);
    for (const cell of selected) inside[cell] = 1;
    const nIn = selected.length;
    const nOut = this.nCells - nIn;
    if (nIn < 2 || nOut < 2) return [];
    const found = [];
    for (let block = 0; block * this.in_block < this.n; block++) {
      await this.#visitBlock(block, (gene, cells, steps) => {
        const score = compare(inside, cells, steps, nIn, nOut);
        if (score.t > 0) found.push({ gene, ...score });
      });
    }
    found.sort((a, b) => b.t - a.t || a.gene - b.gene);
    return found.slice(0, nShown).map((each) => ({
      ...each,
      meanIn: each.meanIn * this.step,
      meanOut: each.meanOut * this.step,
    }));
  }
}

const compare = (inside, cells, steps, nIn, nOut) => {
  const sums = [0, 0];
  const squares = [0, 0];
  const counts = [0, 0];
  for (let i = 0; i < cells.length; i++) {
    const side = inside[cells[i]];
    const value = steps[i];
    sums[side] += value;
    squares[side] += value * value;
    counts[side] += 1;
  }
  const meanIn = sums[1] / nIn;
  const meanOut = sums[0] / nOut;
  const varianceIn = (squares[1] - nIn * meanIn * meanIn) / (nIn - 1);
  const varianceOut = (squares[0] - nOut * meanOut * meanOut) / (nOut - 1);
  const error = Math.sqrt(varianceIn / nIn + varianceOut / nOut);
  // A gene that is the same in all cells of each side tells them apart without doubt.
  const t = meanIn === meanOut ? 0 : (meanIn - meanOut) / error;
  return { t, meanIn, meanOut, shareIn: counts[1] / nIn, shareOut: counts[0] / nOut };
};
