import {execFile} from 'node:child_process';
import {cp, mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {promisify} from 'node:util';
import {afterAll, beforeAll, describe, expect, it, test} from '@jest/globals';
import {validate} from '../../src/api/validate.js';
import {shippedComponents, shippedExpertise} from '../../src/expertise/catalogue.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));

describe('shippedExpertise', () => {
  it('knows every component of the platform', async () => {
    const components = await shippedComponents();
    expect(components).toHaveLength(19);
    for (const component of components) expect(await shippedExpertise(component)).toBeDefined();
  });

  it('gives what the published schema of Expertise accepts', async () => {
    for (const name of await shippedComponents()) {
      const document = {
        apiVersion: 'tekton.ai/v1alpha1',
        kind: 'Expertise',
        metadata: {name},
        spec: await shippedExpertise(name),
      };
      expect({name, problems: await validate('Expertise', document)}).toEqual({name, problems: []});
    }
  });

  it('takes - and _ for equal', async () => {
    const expertise = await shippedExpertise('tekton_core');
    expect(expertise?.title).toBe('The Master Builder');
    expect(await shippedExpertise('tekton-core')).toEqual(expertise);
  });

  it('follows an alias', async () => {
    expect(await shippedExpertise('budget')).toEqual(await shippedExpertise('penia'));
  });

  test.each([
    'zeus',
    '',
    'Athena',
    '../penia',
    'specialists/athena',
    'athena.yaml',
    'athena\0',
    '__proto__',
    'a'.repeat(64),
  ])('has nothing for %j', async component => {
    expect(await shippedExpertise(component)).toBeUndefined();
  });
});

describe('the catalogue of an installed package', () => {
  let home: string;
  let specialists: string;

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'tekton-ai-catalogue-'));
    specialists = join(home, 'specs', 'specialists');
    await cp(join(root, 'specs', 'specialists'), specialists, {recursive: true});
    await mkdir(join(home, 'dist'));
    await writeFile(join(home, 'package.json'), '{"name": "tekton-ai", "type": "module"}');
    // A package.json on the way up that isn't ours: what `npm link` and bundlers leave about.
    await writeFile(join(home, 'dist', 'package.json'), '{"type": "module"}');
    const entry = join(root, 'src', 'expertise', 'catalogue.ts');
    const options = ['--bundle', '--platform=node', '--format=esm', '--splitting', `--outdir=${join(home, 'dist')}`];
    const banner = `--banner:js=import {createRequire} from 'node:module'; const require = createRequire(import.meta.url);`;
    await run(join(root, 'node_modules', '.bin', 'esbuild'), [entry, ...options, banner, '--log-level=error']);
  });

  afterAll(() => rm(home, {recursive: true, force: true}));

  /** What the bundle gives for a component, in a process of its own. */
  async function ask(component: string): Promise<unknown> {
    const module = pathToFileURL(join(home, 'dist', 'catalogue.js')).href;
    const program = `
      const {shippedExpertise} = await import(${JSON.stringify(module)});
      const answer = await shippedExpertise(${JSON.stringify(component)}).then(
        value => ({title: value?.title ?? null}),
        error => ({error: error.name, message: error.message, cause: error.cause?.message}),
      );
      console.log(JSON.stringify(answer));`;
    const {stdout} = await run(process.execPath, ['--input-type=module', '-e', program]);
    return JSON.parse(stdout);
  }

  it('is found from the bundle', async () => {
    expect(await ask('tekton-core')).toEqual({title: 'The Master Builder'});
    expect(await ask('zeus')).toEqual({title: null});
  });

  it('takes a damaged file for a bug of ours, and names it', async () => {
    const file = join(specialists, 'athena.yaml');
    await writeFile(
      file,
      'apiVersion: tekton.ai/v1alpha1\nkind: Expertise\nmetadata: {name: athena}\nspec: {title: 7}\n',
    );
    expect(await ask('athena')).toEqual({
      error: 'Error',
      message: `expertise of athena is damaged: ${file}`,
      cause: "spec.title must be a text that isn't empty",
    });
    await writeFile(file, 'spec: [');
    expect(await ask('athena')).toMatchObject({error: 'Error', message: `expertise of athena is damaged: ${file}`});
  });

  it('does not run round in circles of aliases', async () => {
    const alias = (name: string, of: string) =>
      `{apiVersion: tekton.ai/v1alpha1, kind: Expertise, metadata: {name: ${name}}, spec: {aliasOf: ${of}}}`;
    await writeFile(join(specialists, 'one.yaml'), alias('one', 'two'));
    await writeFile(join(specialists, 'two.yaml'), alias('two', 'one'));
    expect(await ask('one')).toMatchObject({error: 'Error', message: expect.stringContaining('alias')});
  });

  it('is an error when it is gone, never an empty catalogue', async () => {
    await rm(specialists, {recursive: true});
    expect(await ask('hermes')).toMatchObject({error: 'TektonError', message: expect.stringContaining(specialists)});
  });
});
