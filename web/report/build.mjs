// Bundles the script of the report, and gathers the licences of what is in it: into the Python
// package, or into the folder that is named.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const packaged = join(here, '../../src/rankformer/report/page_files');
const target = process.argv[2] ?? packaged;

const result = await build({
  entryPoints: [join(here, 'src/main.js')],
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2020',
  charset: 'ascii',
  legalComments: 'none',
  metafile: true,
  write: false,
  absWorkingDir: here,
});
// The page holds the script between its tags.
const script = result.outputFiles[0].text.replaceAll('</script', '<\\/script');
writeFileSync(join(target, 'report.js'), script);

const describe = (name) =>
  JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8'));

// A package in the bundle may itself hold what it depends on.
const packages = new Set();
const gather = (name) => {
  if (packages.has(name)) return;
  packages.add(name);
  Object.keys(describe(name).dependencies ?? {}).forEach(gather);
};
Object.keys(result.metafile.inputs)
  .map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1])
  .filter(Boolean)
  .forEach(gather);
// Copied into the source of regl-scatterplot.
gather('kdbush');
const licences = [...packages].sort().map((name) => {
  const folder = join(here, 'node_modules', name);
  const { version, license } = describe(name);
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(join(folder, file), 'utf8').trim() : `Licence: ${license}`;
  return `${name} ${version}\n\n${text}\n`;
});
writeFileSync(
  join(target, 'LICENSES.txt'),
  `report.js holds these packages, under their licences.\n\n${licences.join('\n----\n\n')}`,
);
console.log(`report.js: ${(script.length / 1000).toFixed(0)} kB, with ${[...packages].join(', ')}`);
