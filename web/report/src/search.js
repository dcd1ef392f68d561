// The box in which a gene is searched: a combobox as the ARIA practices describe it.

const MOST_SHOWN = 40;

export class GeneSearch {
  constructor(input, list, names, choose) {
    Object.assign(this, { input, list, names, choose });
    this.lower = names.map((name) => name.toLowerCase());
    this.active = -1;
    input.addEventListener('input', () => this.#suggest());
    input.addEventListener('focus', () => input.value && this.#suggest());
    input.addEventListener('keydown', (event) => this.#onKey(event));
    input.addEventListener('blur', () => setTimeout(() => this.#close(), 150));
  }

  // Places of the names that fit: exact first, then those that begin so, then those that hold it.
  find(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const groups = [[], [], []];
    for (const [gene, name] of this.lower.entries()) {
      if (name === wanted) groups[0].push(gene);
      else if (name.startsWith(wanted)) groups[1].push(gene);
      else if (name.includes(wanted)) groups[2].push(gene);
    }
    return groups.flat().slice(0, MOST_SHOWN);
  }

  #suggest() {
    const found = this.find(this.input.value);
    this.list.replaceChildren(...found.map((gene) => this.#option(gene)));
    if (!found.length && this.input.value.trim()) this.list.append(this.#none());
    this.list.hidden = !this.list.children.length;
    this.input.setAttribute('aria-expanded', String(!this.list.hidden));
    this.#activate(found.length ? 0 : -1);
  }

  #option(gene) {
    const item = document.createElement('li');
    item.id = `gene-${gene}`;
    item.setAttribute('role', 'option');
    item.textContent = this.names[gene];
    item.dataset.gene = gene;
    item.addEventListener('mousedown', (event) => {
      event.preventDefault();
      this.#take(gene);
    });
    return item;
  }

  #none() {
    const item = document.createElement('li');
    item.className = 'none';
    item.setAttribute('role', 'status');
    item.textContent = 'No gene of this page has such a name.';
    return item;
  }

  #activate(place) {
    const items = this.list.querySelectorAll('[role=option]');
    this.active = items.length ? (place + items.length) % items.length : -1;
    for (const [i, item] of items.entries()) {
      item.setAttribute('aria-selected', String(i === this.active));
    }
    const current = items[this.active];
    if (current) {
      this.input.setAttribute('aria-activedescendant', current.id);
      current.scrollIntoView({ block: 'nearest' });
    } else {
      this.input.removeAttribute('aria-activedescendant');
    }
  }

  #onKey(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps && !this.list.hidden) {
      event.preventDefault();
      this.#activate(this.active + steps[event.key]);
    } else if (event.key === 'Enter') {
      const current = this.list.querySelectorAll('[role=option]')[this.active];
      if (current && !this.list.hidden) this.#take(Number(current.dataset.gene));
    } else if (event.key === 'Escape' && !this.list.hidden) {
      // It closes the list, and nothing else.
      event.stopPropagation();
      this.#close();
    }
  }

  #take(gene) {
    this.input.value = this.names[gene];
    this.#close();
    this.choose(gene);
  }

  #close() {
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
  }
}
