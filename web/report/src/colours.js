// Colours of categories and numbers, for light and dark pages.

// Okabe and Ito's, then Tol's: told apart by colour-blind readers, and visible on both grounds.
const CATEGORIES = [
  '#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#999933', '#882255',
  '#44aa99', '#aa4499', '#ddcc77', '#6699cc', '#cc6677', '#117733', '#aa7744', '#7766cc',
  '#77aadd', '#ee8866', '#44bb99', '#ffaabb', '#bbcc33', '#aaaa00', '#9a7fb8', '#c28e70',
];
const GREY = { light: '#c6cbd1', dark: '#4b545e' };
const RAMPS = {
  light: ['#d9dde2', '#9ecae1', '#4a98c9', '#1764ab', '#08306b'],
  dark: ['#3a434d', '#27648f', '#2f9bc4', '#8fd6a8', '#f4f7a1'],
};
const N_STEPS = 64;

export const currentTheme = () =>
  document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light';

export const colourOfCategory = (place) => CATEGORIES[place % CATEGORIES.length];

export const grey = () => GREY[currentTheme()];

const mix = (from, to, share) => {
  const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const [a, b] = [channels(from), channels(to)];
  return `#${a
    .map((value, i) => Math.round(value + (b[i] - value) * share).toString(16).padStart(2, '0'))
    .join('')}`;
};

// Colours from low to high.
export const ramp = () => {
  const stops = RAMPS[currentTheme()];
  return Array.from({ length: N_STEPS }, (_, i) => {
    const place = (i / (N_STEPS - 1)) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    return mix(stops[below], stops[below + 1], place - below);
  });
};
