import {expect, test} from '@jest/globals';
import {genericExpertise, ollamaUrl} from '../../src/api/defaults.js';

test.each([
  ['127.0.0.1:11434', 'http://127.0.0.1:11434'],
  ['gpu-box', 'http://gpu-box:11434'],
  [':8080', 'http://127.0.0.1:8080'],
  ['0.0.0.0', 'http://127.0.0.1:11434'],
  ['0.0.0.0:9999', 'http://127.0.0.1:9999'],
  ['[::1]:9999', 'http://[::1]:9999'],
  ['http://gpu-box', 'http://gpu-box'],
  ['https://gpu-box:8443/', 'https://gpu-box:8443'],
  ['http://gpu-box:80/ollama', 'http://gpu-box/ollama'],
  ['', undefined],
  ['no host', undefined],
])('OLLAMA_HOST=%s means %s', (host, url) => {
  expect(ollamaUrl(host)).toBe(url);
});

test('a component that nobody knows gets an expertise that is made of its name', () => {
  const expertise = genericExpertise('market_watch');
  expect(expertise.title).toBe('The Market Watch Specialist');
  expect(expertise.roles).toEqual(['market_watch']);
  expect(expertise.expertise).toContain('Market Watch');
});
