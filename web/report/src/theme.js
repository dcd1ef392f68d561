// Light or dark, as the system says until a reader says otherwise.

const OTHER = { light: 'dark', dark: 'light' };
const NAMES = { light: 'Light', dark: 'Dark' };

export const setUpTheme = (button, onChange) => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const apply = (theme) => {
    root.dataset.theme = theme;
    button.textContent = NAMES[OTHER[theme]];
    button.setAttribute('aria-label', `Change to the ${OTHER[theme]} theme`);
    onChange();
  };
  let isChosen = false;
  button.hidden = false;
  button.addEventListener('click', () => {
    isChosen = true;
    apply(OTHER[root.dataset.theme]);
  });
  system.addEventListener('change', () => isChosen || apply(system.matches ? 'dark' : 'light'));
  apply(system.matches ? 'dark' : 'light');
  printInLight(apply);
};

// Paper is white, whatever the page is.
const printInLight = (apply) => {
  let before = 'light';
  addEventListener('beforeprint', () => {
    before = document.documentElement.dataset.theme;
    apply('light');
  });
  addEventListener('afterprint', () => apply(before));
};
