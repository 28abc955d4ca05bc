/** A fleet's `notifications`: what is taken over, and what is refused at which place. */
import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {folderOf, load, problemsOf} from './files.js';

const document = (entries: string): string => `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev}
spec:
  specialists: [{component: athena, provider: offline}]
  notifications:
${entries}
`;

test('fills in defaults, and makes paths absolute', async () => {
  const folder = await folderOf({
    'tekton-ai.yaml': document(`
    - {name: chat, webhook: {url: {env: URL}, secret: {file: hook.key}, headers: {A: {file: ./a}, B: text}}}
    - {name: all, on: {reasons: [Launched, 'Source*']}, command: {argv: [/bin/true, '{{reason}}']}}
    - {name: status, commitStatus: {provider: gitlab, token: {file: t}, repository: a/b/c}}
    - {name: log, on: {specialists: [ath*]}, minIntervalSeconds: 5, file: {path: told.jsonl}}`),
  });
  const [fleet] = await load(folder);
  const at = (line: number) => ({origin: {type: 'file', file: join(folder, 'tekton-ai.yaml'), line}});
  expect(fleet?.notifications).toEqual([
    {
      ...at(8),
      name: 'chat',
      on: {types: ['Warning']},
      minIntervalSeconds: 0,
      to: {
        type: 'webhook',
        url: {env: 'URL'},
        method: 'POST',
        headers: {A: {file: join(folder, 'a')}, B: 'text'},
        secret: {file: join(folder, 'hook.key')},
        timeoutSeconds: 10,
        retries: 5,
      },
    },
    {
      ...at(9),
      name: 'all',
      on: {reasons: ['Launched', 'Source*'], types: ['Normal', 'Warning']},
      minIntervalSeconds: 0,
      to: {type: 'command', argv: ['/bin/true', '{{reason}}'], timeoutSeconds: 30, env: {}},
    },
    {
      ...at(10),
      name: 'status',
      on: {reasons: expect.arrayContaining(['RevisionReady', 'RolledBack']), types: ['Normal', 'Warning']},
      minIntervalSeconds: 0,
      to: {type: 'commitStatus', provider: 'gitlab', token: {file: join(folder, 't')}, repository: 'a/b/c'},
    },
    {
      ...at(11),
      name: 'log',
      on: {specialists: ['ath*'], types: ['Warning']},
      minIntervalSeconds: 5,
      to: {type: 'file', path: join(folder, 'told.jsonl')},
    },
  ]);
});

test.each([
  ['{name: a}', 7, /exactly one of `webhook`, `command`, `file`/],
  ['{name: a, file: {path: x}, command: {argv: [/bin/true]}}', 7, /exactly one of/],
  ['{name: a, file: {path: x}, on: {reasons: [CrashLop]}}', 7, /no event is called `CrashLop`/],
  ['{name: a, file: {path: x}, on: {reasons: [NotificationFailed]}}', 7, /no event is called `NotificationFailed`/],
  ['{name: a, file: {path: x}, on: {specialists: [apollo]}}', 7, /no specialist of this fleet is called `apollo`/],
  ['{name: a, file: {path: x}, on: {types: []}}', 7, /`types` is empty/],
  ['{name: a, file: {path: x, template: "{{#reason}}"}}', 7, /no Mustache template/],
  ['{name: a, file: {path: x, template: "{{reson}}"}}', 7, /the template has `reson`/],
  ['{name: a, webhook: {url: "https://h.example/x", template: "{{reason}}"}}', 7, /not JSON/],
  ['{name: a, webhook: {url: "https://u:p@h.example/x"}}', 7, /holds a password/],
  ['{name: a, webhook: {url: "https://hooks.slack.com/services/T/B/x"}}', 7, /is a secret in itself/],
  ['{name: a, webhook: {url: "ftp://h.example"}}', 7, /begins with http/],
  ['{name: a, webhook: {url: "https://h.example", headers: {Authorization: abc}}}', 7, /seems to hold a secret/],
  ['{name: a, webhook: {url: "https://h.example", headers: {Content-Length: "3"}}}', 7, /set by tekton-ai itself/],
  ['{name: a, webhook: {url: "https://h.example", headers: {X: "a\\r\\nB: c"}}}', 7, /one line of plain ASCII/],
  ['{name: a, command: {argv: [notify]}}', 7, /the program's absolute path/],
  ['{name: a, commitStatus: {provider: github}}', 7, /`token`/],
  ['{name: a, commitStatus: {provider: github, token: abc}}', 7, /`?token`?/],
  ['{name: a, commitStatus: {provider: gitea, token: {env: T}, repository: a/b/c}}', 7, /is `owner\/name`/],
  ['{name: a, commitStatus: {provider: gitea, token: {env: T}, apiUrl: "https://u:p@h"}}', 7, /holds a password/],
  ['{name: a, on: {types: [Normal]}, commitStatus: {provider: gitea, token: {env: T}}}', 7, /`on` has no meaning/],
  ['{name: a, command: {argv: []}}', 7, /the program's absolute path/],
  ['{name: a, command: {argv: ["{{reason}}"]}}', 7, /the program's absolute path/],
  ['{name: a, command: {argv: [/bin/true], env: {LD_PRELOAD: x}}}', 7, /`LD_PRELOAD` may not be set/],
  ['{name: a, command: {argv: [/bin/true], env: {TEKTON_REASON: x}}}', 7, /`TEKTON_REASON` may not be set/],
  ['{name: a, command: {argv: [/bin/true, "{{#x}}"]}}', 7, /no Mustache template/],
  ['{name: a, file: {path: x}}\n    - {name: a, file: {path: y}}', 8, /there is another `a`/],
])('refuses %s', async (entry, line, message) => {
  const problems = await problemsOf({'tekton-ai.yaml': document(`    - ${entry}`)});
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatchObject({file: 'tekton-ai.yaml', line, message: expect.stringMatching(message)});
});
