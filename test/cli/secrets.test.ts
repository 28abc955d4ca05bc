/** The token that a command shows to a specialist, looked up as its launch looks it up. */
import {mkdir, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, it} from '@jest/globals';
import type {SecretRef} from '../../src/api/types.js';
import {tokenOf} from '../../src/cli/secrets.js';
import {desire} from '../fakes/ports.js';
import {folderOf} from '../spec/files.js';

function token(home: string, ref: SecretRef, envFile?: string): Promise<string | undefined> {
  const desired = desire('athena', {auth: {token: ref}});
  return tokenOf(desired, envFile === undefined ? {} : {envFile}, {environment: {}, home});
}

describe('the token of a specialist', () => {
  it('is none where it asks for none', async () => {
    expect(await tokenOf(desire('athena'), {}, {environment: {}, home: '/nowhere'})).toBeUndefined();
  });

  it('is what a file says, wherever that is', async () => {
    const home = await folderOf({key: 's3cret\n'});
    expect(await token(home, {file: join(home, 'key')})).toBe('s3cret');
  });

  it('is read in a checkout of a repository, and through no link that leads out of it', async () => {
    const home = await folderOf({key: 'out\n', env: 'KEY=out\n', 'git/a/revisions/1/key': 'in\n'});
    const checkout = join(home, 'git/a/checkout');
    await symlink('revisions/1', checkout);
    expect(await token(home, {file: join(checkout, 'key')})).toBe('in');
    await symlink('../../../../key', join(checkout, 'link'));
    await symlink('../../../../env', join(checkout, '.env.tekton'));
    expect(await token(home, {file: join(checkout, 'link')})).toBeUndefined();
    expect(await token(home, {env: 'KEY'}, join(checkout, '.env.tekton'))).toBeUndefined();
    await mkdir(join(home, 'own'));
    await writeFile(join(home, 'own/.env.tekton'), 'KEY=own\n');
    expect(await token(home, {env: 'KEY'}, join(home, 'own/.env.tekton'))).toBe('own');
  });
});
