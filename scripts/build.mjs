/**
 * Builds `dist/`: the command line and the library as ES modules that load piece by piece, the worker as CommonJS
 * (it starts faster) with one file per provider. Start-up time is why anything is bundled at all.
 *
 *   node scripts/build.mjs [--types]
 */
import {createHash} from 'node:crypto';
import {chmod, readdir, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {spawnSync} from 'node:child_process';
import {join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {build} from 'esbuild';
import {precompiledValidators} from './validators.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
/** Built aside and then put in its place, so that nobody ever runs half of a build. */
const draft = `dist.${process.pid}.tmp`;

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  // Native code can't be bundled: it stays a package of its own.
  external: ['fs-native-extensions'],
  minifySyntax: true,
  minifyWhitespace: true,
  keepNames: false,
  legalComments: 'none',
  logLevel: 'warning',
};

/**
 * A dynamic import of a CommonJS package gives only `default` once esbuild splits it off. This puts a module in
 * between that has the names that Node itself would give.
 */
const namedImports = {
  name: 'named-imports',
  setup({onResolve, onLoad}) {
    onResolve({filter: /^[^./]/}, ({path, kind, pluginData}) =>
      kind === 'dynamic-import' &&
      !path.startsWith('node:') &&
      !common.external.includes(path) &&
      pluginData !== 'inner'
        ? {path, namespace: 'named-imports'}
        : undefined,
    );
    onLoad({filter: /.*/, namespace: 'named-imports'}, async ({path}) => {
      const all = Object.keys(await import(path));
      const names = all.filter(name => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default');
      const contents = [
        `import * as all from ${JSON.stringify(path)};`,
        all.includes('default') ? `export default all.default;` : '',
        ...names.map(name => `const ${name}_ = all.${name}; export {${name}_ as ${name}};`),
      ].join('\n');
      return {contents, resolveDir: root, pluginData: 'inner'};
    });
  },
};

/** In the worker these are files of their own, loaded when a specialist needs them. */
const onDemand = {
  ollama: 'src/providers/ollama.ts',
  anthropic: 'src/providers/anthropic.ts',
  openai: 'src/providers/openai.ts',
  scripted: 'src/providers/scripted.ts',
  usage: 'src/worker/usage.ts',
  'session-disk': 'src/worker/session-disk.ts',
  metrics: 'src/worker/http/metrics.ts',
  turns: 'src/registry/turns.ts',
  // Of systems without /proc.
  'processes-ps': 'src/registry/processes-ps.ts',
};
const loadedOnDemand = {
  name: 'loaded-on-demand',
  setup({onResolve}) {
    const names = Object.keys(onDemand).join('|');
    onResolve({filter: new RegExp(`^(\\.|\\.\\./providers|\\.\\./registry)/(${names})\\.js$`)}, ({path, kind}) =>
      kind === 'dynamic-import'
        ? {path: `./${path.split('/').at(-1).replace('.js', '.cjs')}`, external: true}
        : undefined,
    );
  },
};

const api = await loadSchemas();
await build({
  ...common,
  entryPoints: {'tekton-ai': 'src/main.ts', index: 'src/index.ts'},
  outdir: draft,
  format: 'esm',
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  plugins: [precompiledValidators(api), namedImports],
  banner: {
    js: `import {createRequire as __createRequire} from 'node:module';const require = __createRequire(import.meta.url);`,
  },
});
await build({
  ...common,
  entryPoints: {main: 'src/worker/main.ts', ...onDemand},
  outdir: `${draft}/worker`,
  format: 'cjs',
  outExtension: {'.js': '.cjs'},
  plugins: [loadedOnDemand],
});
await chmod(`${draft}/tekton-ai.js`, 0o755);
await writeFile(`${draft}/worker/hash`, await hashOf(`${draft}/worker`));
// The published schemas are written from the ones that validate.
for (const [name, content] of api.schemaFiles()) await writeFile(join('specs', name), content);
await rm('dist', {recursive: true, force: true});
await rename(draft, 'dist');
if (process.argv.includes('--types')) declareTypes();

async function hashOf(folder) {
  const hash = createHash('sha256');
  for (const file of (await readdir(folder)).sort()) hash.update(file).update(await readFile(join(folder, file)));
  return hash.digest('hex').slice(0, 16);
}

async function loadSchemas() {
  const outfile = `${draft}/schemas.mjs`;
  await build({...common, entryPoints: ['src/api/published-schemas.ts'], outfile, format: 'esm'});
  const schemas = await import(pathToFileURL(outfile).href);
  await rm(outfile);
  return schemas;
}

function declareTypes() {
  const flags = ['-p', 'scripts/tsconfig.types.json'];
  const {status} = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', ...flags], {stdio: 'inherit'});
  if (status !== 0) process.exit(status ?? 1);
}
