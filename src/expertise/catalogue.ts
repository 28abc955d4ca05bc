/** The expertise that the package ships: `specs/specialists/<component>.yaml`. */
import {readdir, readFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {Expertise} from '../api/types.js';
import {TektonError} from '../api/errors.js';
import type {ExpertiseDocument} from './parse.js';

/** Shipped files don't change while a program runs, and a fleet asks for the same few again and again. */
const cache = new Map<string, Promise<Expertise>>();
let folderFound: Promise<string> | undefined;
let componentsFound: Promise<readonly string[]> | undefined;

/**
 * Who the specialist of `component` is, as shipped; undefined for a component that the package doesn't know, a
 * name that can't be a component included. `-` and `_` are equal; an alias gives its target's expertise.
 *
 * @throws {TektonError} when the package's files can't be read
 * @throws {Error} when a shipped file is damaged: an internal error
 */
export async function shippedExpertise(component: string): Promise<Expertise | undefined> {
  if (!/^[a-z][a-z0-9_-]{0,62}$/.test(component)) return undefined;
  const name = component.replaceAll('-', '_');
  const cached = cache.get(name);
  if (cached) return cached;
  if (!(await shippedComponents()).includes(name)) return undefined;

  const read = readExpertise(name);
  cache.set(name, read);
  read.catch(() => cache.delete(name)); // a failed read may be cured by then: the next caller tries again
  return read;
}

/**
 * Every component that the package ships an expertise for, aliases included, in alphabetical order.
 *
 * @throws {TektonError} when the package's files can't be read
 */
export async function shippedComponents(): Promise<string[]> {
  componentsFound ??= listComponents().catch((error: unknown) => {
    componentsFound = undefined;
    throw error;
  });
  return [...(await componentsFound)];
}

async function listComponents(): Promise<readonly string[]> {
  const folder = await specialistsFolder();
  const files = await readdir(folder).catch((error: unknown) => unreadable(folder, error));
  return files
    .filter(file => file.endsWith('.yaml'))
    .map(file => file.slice(0, -'.yaml'.length))
    .sort();
}

async function readExpertise(name: string): Promise<Expertise> {
  const document = await readDocument(name);
  if (document.type === 'expertise') return document.expertise;
  const target = await readDocument(document.aliasOf);
  if (target.type === 'expertise') return target.expertise;
  throw new Error(`expertise of ${name} is damaged: its alias ${document.aliasOf} is an alias itself`);
}

async function readDocument(name: string): Promise<ExpertiseDocument> {
  const path = join(await specialistsFolder(), `${name}.yaml`);
  const text = await readFile(path, 'utf8').catch((error: unknown) => unreadable(path, error));
  // Loaded here: a worker, and a command that finds its fleet recorded, never parse YAML.
  const {parseExpertise} = await import('./parse.js');
  try {
    const document = parseExpertise(text);
    if (document.component !== name) throw new Error(`metadata.name must be ${name}`);
    return document;
  } catch (cause) {
    throw new Error(`expertise of ${name} is damaged: ${path}`, {cause});
  }
}

/** Beside this package's own package.json, wherever this module lies in it: `src/expertise/` or bundled in `dist/`. */
function specialistsFolder(): Promise<string> {
  folderFound ??= findSpecialistsFolder().catch((error: unknown) => {
    folderFound = undefined;
    throw error;
  });
  return folderFound;
}

async function findSpecialistsFolder(): Promise<string> {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    if (await isPackageRoot(folder)) return join(folder, 'specs', 'specialists');
    if (folder === dirname(folder)) throw new TektonError(`cannot find the package tekton-ai above ${start}`);
  }
}

async function isPackageRoot(folder: string): Promise<boolean> {
  try {
    const manifest: unknown = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    return typeof manifest === 'object' && manifest !== null && 'name' in manifest && manifest.name === 'tekton-ai';
  } catch {
    return false; // none here, or not one of ours: look further up
  }
}

function unreadable(path: string, cause: unknown): never {
  throw new TektonError(`cannot read the expertise that tekton-ai ships: ${path}`, {
    cause,
    hint: 'Install tekton-ai again.',
  });
}
