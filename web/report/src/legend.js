// The legend; a category in it selects its cells.

import { element } from './elements.js';

export const showLegend = (place, colouring, selectCategory) => {
  place.replaceChildren(element('h3', {}, colouring.name));
  if (colouring.kind === 'number') place.append(...ramp(colouring));
  else place.append(categories(colouring, selectCategory));
};

const ramp = (colouring) => {
  const colours = colouring.colours().slice(0, -1);
  const bar = element('div', { class: 'ramp' });
  bar.style.background = `linear-gradient(to right, ${colours.join(', ')})`;
  const ends = colouring.ends.map((text) => element('span', {}, text));
  return [bar, element('div', { class: 'ramp-ends' }, ...ends)];
};

const categories = (colouring, selectCategory) => {
  const colours = colouring.colours();
  const shown = [...colouring.labels.keys()].filter((category) => colouring.counts[category]);
  return element(
    'ul',
    {},
    ...shown.map((category) => {
      const swatch = element('span', { class: 'swatch', 'aria-hidden': 'true' });
      swatch.style.background = colours[category];
      const button = element(
        'button',
        {
          type: 'button',
          'aria-pressed': 'false',
          title: 'Select these cells',
          'data-category': category,
          onclick: () => selectCategory(category),
        },
        swatch,
        element('span', { class: 'name' }, colouring.labels[category]),
        element('span', { class: 'n' }, colouring.counts[category].toLocaleString('en')),
      );
      return element('li', {}, button);
    }),
  );
};

// Shows which category is selected, if any.
export const pressLegend = (place, category) => {
  for (const button of place.querySelectorAll('button')) {
    button.setAttribute('aria-pressed', String(button.dataset.category === String(category)));
  }
};
