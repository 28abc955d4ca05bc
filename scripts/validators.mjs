/** The code that ajv generates for a set of schemas, in place of a module that would compile them at run time. */
import {Ajv} from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';

/**
 * An esbuild plugin that replaces `src/api/validators.ts`. Beyond the generated code that takes no more than a few
 * lines of ajv's runtime, so that a command doesn't load ajv itself.
 */
export function precompiledValidators({schemas, validation}) {
  return {
    name: 'precompiled-validators',
    setup({onLoad}) {
      onLoad({filter: /\/src\/api\/validators\.ts$/}, () => ({contents: generate(schemas, validation)}));
    },
  };
}

function generate(schemas, validation) {
  const kinds = Object.keys(schemas);
  const ajv = new Ajv({...validation, code: {source: true}});
  for (const kind of kinds) ajv.addSchema(schemas[kind], kind);
  const code = standalone.default(ajv, Object.fromEntries(kinds.map(kind => [kind, kind])));
  return `const exports = {};\n${code}\nexport const validators = exports;`;
}
