import {spawnSync} from 'node:child_process';
import {build} from 'esbuild';
import {describe, expect, it, test} from '@jest/globals';
import type {ResolvedProvider} from '../../src/api/types.js';
import {createProvider} from '../../src/providers/create.js';
import {deadUrl, never, providerContract} from '../contract/provider.js';
import {context} from './subjects.js';

providerContract({
  name: 'offline',
  model: 'expertise',
  provide: () => createProvider({name: 'offline', type: 'offline'}, context),
});

describe('createProvider', () => {
  test.each<ResolvedProvider['type']>(['ollama', 'anthropic', 'openai', 'scripted', 'offline'])(
    'makes a provider of type %s that can say whether it would answer',
    async type => {
      const baseUrl = await deadUrl();
      const provider = await createProvider({name: 'lab', type, baseUrl, apiKey: 'k'}, context);
      expect((await provider.check(['m'], never)).has('m')).toBe(true);
    },
  );

  it('loads no SDK before a check or a chat needs it', async () => {
    const {outputFiles} = await build({
      stdin: {
        contents: `
          import {createProvider} from './src/providers/create.ts';
          for (const type of ['ollama', 'anthropic', 'openai', 'scripted']) await createProvider({name: type, type}, {});
          console.log('created');`,
        resolveDir: process.cwd(),
      },
      bundle: true,
      write: false,
      platform: 'node',
      format: 'esm',
      logLevel: 'silent',
      // An import of one of these would end the program: nothing of the kind can be found.
      alias: {
        ollama: '/nowhere/ollama',
        openai: '/nowhere/openai',
        '@anthropic-ai/sdk': '/nowhere/anthropic',
        yaml: '/nowhere/yaml',
      },
      external: ['/nowhere/*'],
    });
    const run = spawnSync(process.execPath, ['--input-type=module', '-'], {
      input: outputFiles[0]?.text ?? '',
      encoding: 'utf8',
    });
    expect([run.stdout, run.stderr]).toEqual(['created\n', '']);
  });
});
