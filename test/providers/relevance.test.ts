import {describe, expect, it, test} from '@jest/globals';
import {scores, terms} from '../../src/providers/relevance.js';

describe('terms', () => {
  test.each([
    ['service', 'Services'],
    ['plan', 'planning'],
    ['plan', 'planned'],
    ['dependency', 'dependencies'],
    ['process', 'processes'],
    ['index', 'indexes'],
    ['branch', 'branches'],
    ['message', 'messaging'],
    ['store', 'storing'],
    ['class', 'classes'],
    ['port', 'PORT'],
  ])('meets in one stem: %s and %s', (one, other) => {
    expect([...terms(one).keys()]).toEqual([...terms(other).keys()]);
  });

  test.each([
    ['port', 'report'],
    ['state', 'status'],
    ['string', 'strategy'],
    ['bus', 'bug'],
  ])('keeps apart: %s and %s', (one, other) => {
    expect([...terms(one).keys()]).not.toEqual([...terms(other).keys()]);
  });

  it('skips words that say nothing of the subject, and keeps the first spelling', () => {
    expect([...terms("How do I find the Service's port? The services!").values()]).toEqual(['Service', 'port']);
  });

  it('keeps words of any script', () => {
    expect([...terms('Größe 図 графы').values()]).toEqual(['Größe', 'графы']);
  });
});

describe('scores', () => {
  it('counts a word the less, the more texts contain it', () => {
    const texts = ['model cost', 'model prompt', 'weather'].map(terms);
    expect(scores(terms('the cost of a model'), texts)).toEqual([1.5, 0.5, 0]);
  });

  it('gives nothing for a question without words', () => {
    expect(scores(terms(''), [terms('model')])).toEqual([0]);
  });
});
