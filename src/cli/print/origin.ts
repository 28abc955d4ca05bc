/** Where a value is from, as people read it. */
import type {Origin, VariableOrigin} from '../../api/types.js';
import {shortPath} from '../errors.js';

/** "tekton-ai.yaml:12", "defaults, tekton-ai.yaml:5", "ATHENA_AI_MODEL in .env.tekton", "variable REGION (environment), tekton-ai.yaml:12" */
export function originText(origin: Origin, cwd: string): string {
  const place = (file: string, line: number | undefined) =>
    line === undefined ? shortPath(file, cwd) : `${shortPath(file, cwd)}:${line}`;
  switch (origin.type) {
    case 'file':
      return place(origin.file, origin.line);
    case 'base':
    case 'patch':
      return `${origin.type}, ${place(origin.file, origin.line)}`;
    case 'fleet-default':
      return `defaults, ${place(origin.file, origin.line)}`;
    case 'env':
      return origin.file === undefined ? origin.variable : `${origin.variable} in ${shortPath(origin.file, cwd)}`;
    case 'variable':
      return `${variablesText(origin.variables)}, ${place(origin.file, origin.line)}`;
    case 'built-in':
      return 'built-in';
  }
}

/** "variable REGION (environment)" */
export function variablesText(variables: VariableOrigin['variables']): string {
  const all = variables.map(({name, from}) => `${name} (${from})`);
  return `${all.length === 1 ? 'variable' : 'variables'} ${all.join(', ')}`;
}
