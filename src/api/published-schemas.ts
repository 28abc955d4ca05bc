/** The copies in `specs/`, for editors and other tools. */
import {layerPatches, schemas} from './schema.js';
import type {JsonSchema} from './schema.js';

// The build compiles validators of these.
export {schemas, validation} from './schema.js';

/** The published files, by name within `specs/`; scripts/build.mjs writes them. */
export function schemaFiles(): ReadonlyMap<string, string> {
  return new Map(
    Object.entries({...schemas, Fleet: publishedFleet()}).map(([kind, schema]) => [
      `${kind.toLowerCase()}.schema.json`,
      `${JSON.stringify(schema, null, 2)}\n`,
    ]),
  );
}

/**
 * tekton-ai takes the nulls and `$patch` of layers out before it checks them, so that it can do without a second half
 * for fleets over bases, which would be the larger one. Others need it.
 */
function publishedFleet(): JsonSchema {
  const {properties = {}, ...rest} = schemas.Fleet;
  const spec = properties['spec'] ?? {};
  return {
    ...rest,
    properties: {...properties, spec: {type: 'object'}},
    if: {required: ['spec'], properties: {spec: {type: 'object', required: ['bases']}}},
    then: {properties: {spec: layer(spec)}},
    else: {properties: {spec: withOpenPatches(spec)}},
  };
}

/** Of a fleet over bases: what it leaves out is theirs. */
function layer(spec: JsonSchema): JsonSchema {
  const {bases = {}, include = {}, specialists = {}} = spec.properties ?? {};
  const entry = partial(specialists.items ?? {});
  const $patch: JsonSchema = {
    type: 'string',
    enum: layerPatches,
    description: 'delete: the specialist of this name in the bases is left out; replace: nothing of it is kept.',
  };
  const items = {...entry, properties: {...entry.properties, $patch}};
  const properties = {
    ...partial(spec).properties,
    ...{bases, include},
    specialists: nullable({...specialists, items}),
  };
  return withOpenPatches({...spec, properties, required: ['bases']});
}

function withOpenPatches(spec: JsonSchema): JsonSchema {
  const {patches = {}} = spec.properties ?? {};
  const {target = {}, patch = {}} = patches.items?.properties ?? {};
  const items = {...patches.items, properties: {target, patch: partial(patch)}};
  return {...spec, properties: {...spec.properties, patches: {...patches, items}}};
}

/** The same with every part left open, and `null` where a field may be taken away. */
function partial(schema: JsonSchema): JsonSchema {
  const {required: _, minProperties: __, default: ___, ...rest} = schema;
  const {properties, additionalProperties} = schema;
  return {
    ...rest,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([key, property]) => [key, nullable(partial(property))]),
      ),
    }),
    ...(typeof additionalProperties === 'object' && {additionalProperties: nullable(partial(additionalProperties))}),
  };
}

function nullable(schema: JsonSchema): JsonSchema {
  return {
    ...schema,
    ...(schema.type !== undefined && {type: [schema.type, 'null'].flat()}),
    ...(schema.enum && {enum: [...schema.enum, null]}),
  };
}
