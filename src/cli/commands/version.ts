import {apiVersion} from '../../api/types.js';
import {exitCodes} from '../../api/errors.js';
import {version} from '../../api/version.js';
import type {Command} from '../context.js';
import type {VersionOptions} from '../options.js';
import {writeJson, writeLine} from '../output.js';

export const run: Command<VersionOptions> = async ({stdout}, _args, {output}) => {
  if (output === 'json') {
    const node = process.versions.node;
    await writeJson(stdout, {version, apiVersion, node, platform: process.platform, arch: process.arch});
  } else await writeLine(stdout, version);
  return exitCodes.ok;
};
