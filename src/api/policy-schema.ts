/** Schema of a Policy's `spec`. */
import type {JsonSchema} from './schema.js';

const text = {type: 'string', minLength: 1} as const;
const absolutePath = {type: 'string', pattern: '^/'} as const;
export const hostPatternText = '^([a-z]+://)?(\\[[0-9A-Fa-f:.]+\\]|[0-9A-Za-z*._-]+)(:[0-9]{1,5})?$' as const;
export const absolutePathText = absolutePath.pattern;

const hosts: JsonSchema = {
  type: 'array',
  items: {type: 'string', pattern: hostPatternText},
  description:
    '[scheme://]host[:port], the host with `*`; without a port every port. Secrets go over plain http only where the scheme is `http`.',
  examples: [['lab.corp.example:8000', '*.corp.example', 'http://192.168.1.20:11434']],
};

const secret: JsonSchema = {
  title: 'Secret',
  description: 'A secret that repositories may use, and for what.',
  type: 'object',
  properties: {
    env: {type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]*$', description: 'Environment variable.'},
    file: {...absolutePath, description: 'File outside of the repository; absolute.'},
    hosts: {...hosts, description: 'Where it may be sent, as the key of a provider or in a webhook.'},
    use: {
      type: 'array',
      items: {type: 'string', enum: ['auth', 'env', 'webhook']},
      uniqueItems: true,
      description:
        "auth: a specialist's token. env: the environment of a worker, or of a notification's command. webhook: it is a webhook's whole address.",
    },
  },
  additionalProperties: false,
};

const rule: JsonSchema = {
  title: 'Rule',
  type: 'object',
  required: ['match'],
  properties: {
    match: {
      title: 'Match',
      description: 'Which git sources this is about: all that is said must hold. `*` stands for any characters.',
      type: 'object',
      minProperties: 1,
      properties: {
        url: {...text, description: 'Address of the repository.', examples: ['https://git.example.com/acme/*']},
        name: {...text, description: '`<namespace>/<name>` of the GitSource.', examples: ['default/platform']},
      },
      additionalProperties: false,
    },
    hosts: {...hosts, title: 'Hosts', description: 'Providers and webhooks beyond loopback and the known vendors.'},
    secrets: {type: 'array', items: secret},
    variables: {
      type: 'array',
      items: {type: 'string', pattern: '^[A-Za-z0-9_*]+$'},
      description: 'Environment variables that `variables` of a fleet may read; `*` works.',
      examples: [['REGION', 'TEKTON_VAR_*']],
    },
    commands: {
      type: 'array',
      items: absolutePath,
      description: 'Programs that notifications may run, with arguments of their choice.',
      examples: [['/usr/local/bin/notify']],
    },
    files: {type: 'array', items: absolutePath, description: 'Files that notifications may append to.'},
    includes: {
      type: 'array',
      items: absolutePath,
      description: 'Folders outside of the repository that `include` and `script` may reach.',
      examples: [['/srv/shared/expertise']],
    },
    bind: {
      type: 'array',
      items: {type: 'string', pattern: '^[0-9A-Za-z.:_-]+$'},
      description: 'Addresses beyond loopback that specialists may listen on.',
      examples: [['0.0.0.0']],
    },
    pull: {
      type: 'array',
      items: text,
      description: 'Models that Ollama may be told to fetch; `*` works.',
      examples: [['llama3.3:*']],
    },
  },
  additionalProperties: false,
};

export const policySpec: JsonSchema = {
  title: 'Policy spec',
  type: 'object',
  properties: {
    sources: {
      type: 'array',
      items: rule,
      description: 'Every rule that matches a git source counts. What no rule allows is refused.',
    },
  },
  additionalProperties: false,
};
