import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, it} from '@jest/globals';
import {schemaFiles} from '../../src/api/published-schemas.js';
import {schemas} from '../../src/api/schema.js';
import type {JsonSchema} from '../../src/api/schema.js';

const specs = join(import.meta.dirname, '..', '..', 'specs');

describe('the published schemas', () => {
  it.each([...schemaFiles()])(
    'specs/%s is what ajv checks with (UPDATE_SCHEMAS=1 writes it)',
    async (name, content) => {
      if (process.env['UPDATE_SCHEMAS']) await writeFile(join(specs, name), content);
      expect(await readFile(join(specs, name), 'utf8')).toBe(content);
    },
  );

  it.each(Object.entries(schemas))('%s accepts no unknown field at any depth', (_, schema) => {
    expect(openMappings(schema)).toEqual([]);
  });
});

/** Mappings with fixed fields that would accept others. */
function openMappings(schema: JsonSchema, path = ''): string[] {
  const children = Object.entries(schema.properties ?? {});
  const rest = typeof schema.additionalProperties === 'object' ? [['*', schema.additionalProperties] as const] : [];
  const items = schema.items ? [['[]', schema.items] as const] : [];
  const own = schema.properties && schema.additionalProperties !== false ? [path] : [];
  return [...own, ...[...children, ...rest, ...items].flatMap(([key, child]) => openMappings(child, `${path}/${key}`))];
}
