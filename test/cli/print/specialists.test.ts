import {describe, expect, it} from '@jest/globals';
import {listDocument} from '../../../src/cli/print/documents.js';
import {
  specialistColumns,
  specialistRow,
  statusColumns,
  statusRow,
  unhealthyLines,
} from '../../../src/cli/print/specialists.js';
import {styleFor} from '../../../src/cli/print/style.js';
import {tableText} from '../../../src/cli/print/table.js';
import {athena, numa} from '../samples.js';

const style = styleFor(false);
const now = Date.parse('2026-01-05T10:05:03Z');

describe('specialists as rows', () => {
  it('prints get as kubectl does', async () => {
    const rows = [athena, numa].map(view => specialistRow(view, {wide: false, style, now}));
    expect(tableText(specialistColumns(false), rows)).toMatchInlineSnapshot(`
     "NAME       COMPONENT   READY   STATUS    PROVIDER:MODEL        PORT     RESTARTS   AGE
     athena     athena      True    Ready     ollama:llama3.3:70b   45000    0          5m3s
     lab/numa   numa        False   Stalled   ollama:qwen3          <none>   7          <none>
     "
    `);
  });

  it('names the commit with the fleet that it declares', () => {
    const revision = {commit: '1a2b3c4d5e6f7890', source: 'default/platform'};
    expect(specialistRow({...athena, revision}, {wide: true, style, now})).toContain('dev@1a2b3c4');
    expect(specialistRow(athena, {wide: true, style, now})).toContain('dev');
  });

  it('adds process, generation, fleet and reason to the wide form', async () => {
    const rows = [athena, numa].map(view => specialistRow(view, {wide: true, style, now}));
    expect(tableText(specialistColumns(true), rows)).toMatchInlineSnapshot(`
     "NAME       COMPONENT   READY   STATUS    PROVIDER:MODEL        PORT     RESTARTS   AGE      PID      GENERATION   FLEET   REASON
     athena     athena      True    Ready     ollama:llama3.3:70b   45000    0          5m3s     4242     1            dev     Ready
     lab/numa   numa        False   Stalled   ollama:qwen3          <none>   7          <none>   <none>   2 (at 1)     dev     ModelNotFound
     "
    `);
  });

  it('prints status with the reasons below', async () => {
    const rows = [statusRow(athena, 43_000_000, {style, now}), statusRow(numa, undefined, {style, now})];
    expect(tableText(statusColumns, rows)).toMatchInlineSnapshot(`
     "COMPONENT   AI-ID         PORT     MODEL                 HEALTH    RESTARTS   UPTIME   MEMORY
     athena      athena-ai     45000    ollama:llama3.3:70b   Ready     0          5m3s     43 MB
     numa        lab.numa-ai   <none>   ollama:qwen3          Stalled   7          <none>   <none>
     "
    `);
    expect(unhealthyLines([athena, numa], style)).toEqual([
      'lab.numa-ai: ModelNotFound: model qwen3 is not pulled; run: ollama pull qwen3',
    ]);
  });

  it('aligns coloured cells as if they had no colour', async () => {
    const coloured = styleFor(true);
    const row = specialistRow(athena, {wide: false, style: coloured, now});
    const text = tableText(specialistColumns(false), [row]);
    expect(text).toContain('\u001b[32mReady');
    // eslint-disable-next-line no-control-regex -- the escape sequences are what is taken out
    const plain = text.replaceAll(/\u001b\[\d+m/g, '');
    expect(plain).toBe(tableText(specialistColumns(false), [specialistRow(athena, {wide: false, style, now})]));
  });
});

it('gives documents that hold secrets as references only', () => {
  const list = listDocument([athena]);
  expect(list).toMatchObject({
    apiVersion: 'tekton.ai/v1alpha1',
    kind: 'List',
    items: [
      {
        kind: 'Specialist',
        metadata: {name: 'athena', namespace: 'default', generation: 1},
        spec: {component: 'athena', env: {HF_TOKEN: {env: 'HF_TOKEN'}}},
        status: {phase: 'Ready', port: 45_000},
      },
    ],
  });
});
