/** The watch with real files, changed in the ways in which editors and version control change them. */
import {appendFile, mkdir, rename, rm, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, describe, expect, it} from '@jest/globals';
import {watchSources} from '../../src/spec/watch.js';
import type {SourceWatch} from '../../src/spec/watch.js';
import {folderOf} from './files.js';

let watch: SourceWatch | undefined;

afterEach(async () => {
  await watch?.close();
  watch = undefined;
});

/** Counts what is told; `next` waits until something is told that hadn't been when it was called last. */
async function watching(paths: readonly string[], debounceMs = 10) {
  let told = 0;
  let seen = 0;
  watch = await watchSources(paths, () => void told++, {debounceMs});
  return {
    count: () => told,
    next: async (): Promise<void> => {
      await until(() => told > seen);
      seen = told;
    },
    /** Repeats an act until it is noticed: after an `update` or a new folder, a watch begins a moment later. */
    noticed: async (act: () => Promise<void>): Promise<void> => {
      seen = told;
      for (; told === seen; await pause(20)) await act();
      seen = told;
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(5);
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

describe('watchSources', () => {
  it('tells of a file that is written', async () => {
    const folder = await folderOf({'f.yaml': 'a'});
    const {next} = await watching([join(folder, 'f.yaml')]);
    await writeFile(join(folder, 'f.yaml'), 'b');
    await next();
  });

  it('tells of a file that an editor saves by renaming a new one over it, again and again', async () => {
    const folder = await folderOf({'f.yaml': 'a'});
    const {next} = await watching([join(folder, 'f.yaml')]);
    for (const content of ['bb', 'ccc', 'dddd']) {
      await writeFile(join(folder, 'f.yaml.tmp'), content);
      await rename(join(folder, 'f.yaml.tmp'), join(folder, 'f.yaml'));
      await next();
    }
  });

  it('tells of a file that goes and comes back', async () => {
    const folder = await folderOf({'f.yaml': 'a'});
    const {next} = await watching([join(folder, 'f.yaml')]);
    await rm(join(folder, 'f.yaml'));
    await next();
    await writeFile(join(folder, 'f.yaml'), 'b');
    await next();
    await appendFile(join(folder, 'f.yaml'), 'c');
    await next();
  });

  it('tells of a file that didn’t exist', async () => {
    const folder = await folderOf({});
    const {next} = await watching([join(folder, '.env.tekton')]);
    await writeFile(join(folder, '.env.tekton'), 'A=b');
    await next();
  });

  it('tells of a YAML file that is new in a folder, and in a new folder of a tree', async () => {
    const folder = await folderOf({'flat/a.yaml': '', 'tree/a.yaml': ''});
    const {next, noticed} = await watching([join(folder, 'flat'), join(folder, 'tree', '**')]);
    await writeFile(join(folder, 'flat', 'b.yaml'), 'x');
    await next();
    await mkdir(join(folder, 'tree', 'deep'));
    await noticed(() => appendFile(join(folder, 'tree', 'deep', 'c.yaml'), 'x'));
  });

  it('tells of a folder that is made later, and of one that is replaced as a checkout does it', async () => {
    const folder = await folderOf({'now/a.yaml': ''});
    const {next, noticed} = await watching([join(folder, 'later', 'on', '**'), join(folder, 'now')]);
    await mkdir(join(folder, 'later', 'on'), {recursive: true});
    await next();
    await noticed(() => appendFile(join(folder, 'later', 'on', 'x.yaml'), 'x'));
    await rm(join(folder, 'now'), {recursive: true});
    await next();
    await mkdir(join(folder, 'now'));
    await noticed(() => appendFile(join(folder, 'now', 'b.yaml'), 'x'));
  });

  it('tells once of many changes together', async () => {
    const folder = await folderOf({'f.yaml': 'a', 'g.yaml': 'a'});
    const {next, count} = await watching([join(folder, 'f.yaml'), join(folder, 'g.yaml')], 300);
    for (let i = 0; i < 10; i++) {
      await Promise.all(['f.yaml', 'g.yaml'].map(name => appendFile(join(folder, name), 'x')));
    }
    await next();
    expect(count()).toBe(1);
  });

  it('tells nothing of other files', async () => {
    const folder = await folderOf({'f.yaml': 'a', 'other.yaml': 'a', 'd/a.yaml': ''});
    const {next, count} = await watching([join(folder, 'f.yaml'), join(folder, 'd')]);
    await writeFile(join(folder, 'other.yaml'), 'b');
    await writeFile(join(folder, 'd', 'notes.txt'), 'b');
    await mkdir(join(folder, 'd', 'below'));
    await writeFile(join(folder, 'd', 'below', 'x.yaml'), 'b');
    // A later change of a watched file has been told: what comes before it in time would have been.
    await writeFile(join(folder, 'f.yaml'), 'b');
    await next();
    expect(count()).toBe(1);
  });

  it('watches other paths after an update, and the old ones no more', async () => {
    const folder = await folderOf({'one/f.yaml': 'a', 'two/g.yaml': 'a'});
    const {noticed, count} = await watching([join(folder, 'one', 'f.yaml')]);
    watch?.update([join(folder, 'two', 'g.yaml')]);
    await noticed(() => appendFile(join(folder, 'two', 'g.yaml'), 'x'));
    await watch?.close();
    const before = count();
    await appendFile(join(folder, 'two', 'g.yaml'), 'x');
    expect(count()).toBe(before);
  });
});

it('of nothing any more can be closed, and watches again what it is given', async () => {
  const folder = await folderOf({'a.yaml': 'x'});
  const {noticed} = await watching([join(folder, 'a.yaml')]);
  watch?.update([]);
  watch?.update([join(folder, 'a.yaml')]);
  await noticed(() => appendFile(join(folder, 'a.yaml'), 'y'));
  watch?.update([]);
  await watch?.close();
});
