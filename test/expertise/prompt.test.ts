import {describe, expect, it} from '@jest/globals';
import {shippedComponents, shippedExpertise} from '../../src/expertise/catalogue.js';
import {description, systemPrompt} from '../../src/expertise/prompt.js';
import type {Expertise} from '../../src/api/types.js';

const expertise: Expertise = {
  title: 'The Cook',
  expertise: 'Soups of every kind.',
  focus: 'soup',
  roles: ['cooking', 'planning'],
  capabilities: ['Cook a soup', 'Save a soup'],
  personality: 'Warm.',
  refersTo: {tekton_core: 'recipes under version control'},
};

describe('systemPrompt, composed', () => {
  it('says everything that the expertise says', () => {
    const prompt = systemPrompt({component: 'tekton_kitchen', expertise});
    expect(prompt).toMatch(/^You are Tekton Kitchen, The Cook: .* Your focus: soup\.\n/);
    for (const text of [
      'Soups of every kind.',
      '- Cook a soup\n- Save a soup',
      'cooking, planning',
      'Warm.',
      '- Tekton Core: recipes under version control',
    ]) {
      expect(prompt).toContain(text);
    }
  });

  it('leaves out what the expertise has nothing to say on', () => {
    const bare = {...expertise, focus: '', roles: [], capabilities: [], personality: '', refersTo: {}};
    const prompt = systemPrompt({component: 'kitchen', expertise: bare});
    expect(prompt).not.toMatch(/focus|roles|What you do|manner|name the specialist/);
    expect(prompt).toContain('Soups of every kind.');
  });

  it('identifies the specialist within the first 200 characters, which is what `info` shows', async () => {
    const openings = new Set<string>();
    for (const component of await shippedComponents()) {
      const shipped = await shippedExpertise(component);
      if (!shipped) throw new Error(`nothing shipped for ${component}`);
      const opening = systemPrompt({component, expertise: shipped}).slice(0, 200);
      expect(opening).toContain(shipped.title);
      openings.add(opening);
    }
    expect(openings.size).toBe(19);
  });
});

describe('systemPrompt, from a template', () => {
  const fill = (template: string) =>
    systemPrompt({component: 'tekton_core', expertise: {...expertise, systemPrompt: template}});

  it('fills in every placeholder', () => {
    expect(fill('{{component}}|{{title}}|{{expertise}}|{{focus}}|{{roles}}|{{personality}}')).toBe(
      'Tekton Core|The Cook|Soups of every kind.|soup|cooking, planning|Warm.',
    );
    expect(fill('{{capabilities}}\n{{ refersTo }}')).toBe(
      '- Cook a soup\n- Save a soup\n- Tekton Core: recipes under version control',
    );
  });

  it('leaves unknown placeholders, names of object properties included, as they are', () => {
    expect(fill('{{tool}} {{constructor}} {{__proto__}} {title}')).toBe(
      '{{tool}} {{constructor}} {{__proto__}} {title}',
    );
  });

  it('does not fill in what a value brings along', () => {
    const nested = {...expertise, focus: '{{title}} $& $1', systemPrompt: '{{focus}}'};
    expect(systemPrompt({component: 'kitchen', expertise: nested})).toBe('{{title}} $& $1');
  });
});

describe('description', () => {
  it('begins as the platform expects it and stays on one line', () => {
    expect(description({component: 'athena', expertise})).toBe('AI specialist for Athena - The Cook: soup');
    expect(description({component: 'tekton_core', expertise: {...expertise, focus: 'hot\n  soup'}})).toBe(
      'AI specialist for Tekton Core - The Cook: hot soup',
    );
  });

  it('does without a focus', () => {
    expect(description({component: 'athena', expertise: {...expertise, focus: ''}})).toBe(
      'AI specialist for Athena - The Cook',
    );
  });
});
