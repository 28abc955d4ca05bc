/** Options of the verbs that read fleet files. */
import {Option} from 'commander';
import {collect, collectVariables} from '../arguments.js';

export const fileOption = (): Option =>
  new Option('-f, --file <path>', 'file, folder or - (repeatable)')
    .argParser(collect)
    .default([], 'the nearest tekton-ai.yaml');

export const varOption = (): Option =>
  new Option('--var <name=value>', "value of one of the fleet's variables (repeatable)")
    .argParser(collectVariables)
    .default({}, 'environment, file or default of each');
