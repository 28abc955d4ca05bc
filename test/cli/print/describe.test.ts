import {expect, it} from '@jest/globals';
import {describeText} from '../../../src/cli/print/describe.js';
import {styleFor} from '../../../src/cli/print/style.js';
import {athena, numa} from '../samples.js';

const about = {style: styleFor(false), now: Date.parse('2026-01-05T10:05:03Z'), logPath: '/home/logs/athena-ai.log'};

it('describes a specialist that is Ready', () => {
  const event = {at: '2026-01-05T10:00:00.5Z', type: 'Normal', reason: 'Launched', aiId: 'athena-ai'} as const;
  const events = [{...event, message: 'pid 4242 listens on port 45000'}];
  expect(describeText({...about, view: athena, events})).toMatchInlineSnapshot(`
   "Name:            athena
   AI ID:           athena-ai
   Namespace:       default
   Fleet:           dev
   Component:       athena
   Title:           The Knowledge Weaver
   Roles:           knowledge
   Labels:          <none>
   Phase:           Ready
   Generation:      1 (observed: 1)
   Model:           ollama:llama3.3:70b
   Address:         127.0.0.1:45000
   Process:         pid 4242, up 5m3s, instance u1
   Restarts:        0
   Usage:           3 requests, 120 tokens in, 340 tokens out
   Log:             /home/logs/athena-ai.log
   Declared:        ollama:llama3.3:70b
   Parameters:      <none>
   Concurrency:     4 at once, 64 queued
   Depends On:      <none>
   Restart Policy:  Always
   Probes:          every 10s, 2s each, 3 misses; start 30s
   Conditions:
     TYPE    STATUS   REASON   SINCE   MESSAGE
     Ready   True     Ready    5m3s    a chat would be answered now
   Events:
     2026-01-05T10:00:00Z  Normal   Launched       athena-ai           pid 4242 listens on port 45000
   "
  `);
});

it('describes one that went down, with its last words', () => {
  const lastExit = {at: '2026-01-05T10:04:03Z', signal: 'SIGKILL', stderrTail: ['out of', 'memory']};
  const text = describeText({...about, view: {...numa, status: {...numa.status, lastExit}}, events: []});
  expect(text).toMatch(/\nLast Exit: +signal SIGKILL, 60s ago\n +out of\n +memory\n/);
  expect(text).toMatch(/\nProcess: +<none>\n/);
  expect(text).toContain('Events:\n  <none>\n');
});

it('says which commit of which git source declares it', () => {
  const revision = {commit: '1a2b3c4d5e6f7890', source: 'default/platform'};
  const text = describeText({...about, view: {...athena, revision}, events: []});
  expect(text).toContain('Revision:        1a2b3c4d5e6f7890 of git source default/platform\n');
});
