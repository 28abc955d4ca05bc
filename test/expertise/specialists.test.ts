import {readdir, readFile} from 'node:fs/promises';
import {describe, expect, it, test} from '@jest/globals';
import {parseExpertise} from '../../src/expertise/parse.js';
import type {Expertise} from '../../src/api/types.js';

const folder = new URL('../../specs/specialists/', import.meta.url);
const platform = [
  ...['apollo', 'athena', 'budget', 'engram', 'ergon', 'harmonia', 'hephaestus', 'hermes', 'metis', 'noesis'],
  ...['numa', 'penia', 'prometheus', 'rhetor', 'sophia', 'synthesis', 'tekton_core', 'telos', 'terma'],
];

const documents = await Promise.all(
  (await readdir(folder)).map(async file => ({
    file,
    document: parseExpertise(await readFile(new URL(file, folder), 'utf8')),
  })),
);
const shipped = documents.flatMap(({document}) => (document.type === 'expertise' ? [document] : []));
const pairs = shipped.flatMap((a, i) => shipped.slice(i + 1).map(b => [a, b] as const));

describe('the shipped specialists', () => {
  it('are one file for each component of the platform', () => {
    expect(documents.map(({file}) => file).sort()).toEqual(platform.map(name => `${name}.yaml`));
  });

  it('are named as their files are', () => {
    for (const {file, document} of documents) expect(`${document.component}.yaml`).toBe(file);
  });

  it('have one alias: budget is penia', () => {
    expect(documents.map(({document}) => document).filter(({type}) => type === 'alias')).toEqual([
      {type: 'alias', component: 'budget', aliasOf: 'penia'},
    ]);
  });

  test.each([
    ['hermes', 'The Service Orchestrator'],
    ['engram', 'The Memory Curator'],
    ['rhetor', 'The Prompt Architect'],
    ['athena', 'The Knowledge Weaver'],
    ['prometheus', 'The Strategic Planner'],
    ['numa', 'The Specialist Orchestrator'],
  ])('%s bears the title that the platform knows it by', (component, title) => {
    expect(shipped.find(document => document.component === component)?.expertise.title).toBe(title);
  });

  test.each(shipped.map(document => [document.component, document.expertise] as const))(
    '%s is described in full',
    (component, expertise) => {
      expect(words(expertise.expertise).length).toBeGreaterThan(60);
      expect(expertise.roles.length).toBeGreaterThanOrEqual(3);
      expect(expertise.roles.length).toBeLessThanOrEqual(6);
      for (const role of expertise.roles) expect(role).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(new Set(expertise.roles).size).toBe(expertise.roles.length);
      expect(expertise.capabilities.length).toBeGreaterThanOrEqual(4);
      expect(expertise.capabilities.length).toBeLessThanOrEqual(8);
      expect(Object.keys(expertise.refersTo).length).toBeGreaterThanOrEqual(2);
      expect(Object.keys(expertise.refersTo)).not.toContain(component);
    },
  );

  it('refer only to components that exist, by the name that has the description', () => {
    const described = new Set(shipped.map(({component}) => component));
    for (const {expertise} of shipped) {
      for (const component of Object.keys(expertise.refersTo)) expect(described).toContain(component);
    }
  });

  it('can all be reached from numa, which knows whom to ask', () => {
    const numa = shipped.find(({component}) => component === 'numa');
    const others = shipped.map(({component}) => component).filter(component => component !== 'numa');
    expect(Object.keys(numa?.expertise.refersTo ?? {}).sort()).toEqual(others.sort());
  });

  it('differ from each other in title, focus, personality and every capability', () => {
    const texts = shipped.flatMap(({expertise: e}) => [e.title, e.focus, e.personality, ...e.capabilities]);
    expect(new Set(texts).size).toBe(texts.length);
  });

  it('share less than a fifth of their words with any other', () => {
    const overlaps = pairs.map(([a, b]) => ({pair: `${a.component} ${b.component}`, overlap: jaccard(a, b)}));
    expect(overlaps.filter(({overlap}) => overlap >= 0.2)).toEqual([]);
  });

  it('have roles that find more than one of them, and roles that find one alone', () => {
    const counts = new Map<string, number>();
    for (const role of shipped.flatMap(({expertise}) => expertise.roles)) counts.set(role, (counts.get(role) ?? 0) + 1);
    expect(counts.get('planning')).toBe(3);
    expect(counts.get('memory')).toBe(1);
    for (const {component, expertise} of shipped) {
      expect({component, alone: expertise.roles.some(role => counts.get(role) === 1)}).toEqual({
        component,
        alone: true,
      });
    }
  });
});

function jaccard(a: {readonly expertise: Expertise}, b: {readonly expertise: Expertise}): number {
  const [one, other] = [new Set(content(a.expertise)), new Set(content(b.expertise))];
  const shared = [...one].filter(word => other.has(word)).length;
  return shared / (one.size + other.size - shared);
}

function content(expertise: Expertise): readonly string[] {
  return words(`${expertise.expertise} ${expertise.capabilities.join(' ')}`);
}

function words(text: string): readonly string[] {
  return text.toLowerCase().match(/[a-z]{3,}/g) ?? [];
}
