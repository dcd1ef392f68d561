// Colours of categories and numbers, for light and dark pages.

// Colours of the palette that are darker than this are mixed with white on a dark page.
const DARK = 0.1;
const GREY = { light: '#c6cbd1', dark: '#4b545e' };
const RAMPS = {
  light: ['#d9dde2', '#9ecae1', '#4a98c9', '#1764ab', '#08306b'],
  dark: ['#3a434d', '#27648f', '#2f9bc4', '#8fd6a8', '#f4f7a1'],
};
const N_STEPS = 64;

export const currentTheme = () =>
  document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light';

// The colour of a category of the palette that rankformer's plots have.
export const colourOfCategory = (palette, place) => {
  const colour = palette[place % palette.length];
  return currentTheme() === 'dark' && luminance(colour) < DARK ? mix(colour, '#ffffff', 0.35) : colour;
};

export const grey = () => GREY[currentTheme()];

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// Relative luminance, from 0 to 1, as the contrast of texts is measured by.
const luminance = (colour) => {
  const linear = channels(colour).map((value) => (value / 255) ** 2.2);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};

const mix = (from, to, share) => {
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
