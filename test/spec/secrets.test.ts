import {chmod, mkdir, symlink} from 'node:fs/promises';
import {join} from 'node:path';
import {describe, expect, it, test} from '@jest/globals';
import {resolveSecret} from '../../src/spec/secrets.js';
import {folderOf} from './files.js';

describe('a secret of the environment', () => {
  it('is the variable, or else that of .env.tekton', async () => {
    const folder = await folderOf({'.env.tekton': 'KEY=from-file\nOTHER=" spaced "\n'});
    const envFile = join(folder, '.env.tekton');
    expect(await resolveSecret({env: 'KEY'}, {environment: {KEY: 'from-env\n'}, envFile})).toEqual({value: 'from-env'});
    expect(await resolveSecret({env: 'KEY'}, {environment: {}, envFile})).toEqual({value: 'from-file'});
    expect(await resolveSecret({env: 'OTHER'}, {environment: {OTHER: ''}, envFile})).toEqual({value: 'spaced'});
  });

  it('that is missing is named, with what is the matter', async () => {
    const folder = await folderOf({'.env.tekton': 'EMPTY=\n'});
    const envFile = join(folder, '.env.tekton');
    expect(await resolveSecret({env: 'KEY'}, {environment: {}})).toEqual({
      missing: 'environment variable KEY is not set',
    });
    expect(await resolveSecret({env: 'KEY'}, {environment: {KEY: ' '}})).toEqual({
      missing: 'environment variable KEY is empty',
    });
    expect(await resolveSecret({env: 'EMPTY'}, {environment: {}, envFile})).toEqual({
      missing: 'environment variable EMPTY is empty',
    });
    expect(await resolveSecret({env: 'KEY'}, {environment: {}, envFile: join(folder, 'gone')})).toEqual({
      missing: 'environment variable KEY is not set',
    });
    expect(await resolveSecret({env: 'KEY'}, {environment: {}, envFile: folder})).toEqual({
      missing: `environment variable KEY is not set, and ${folder} cannot be read: EISDIR`,
    });
  });
});

describe('a secret in a file', () => {
  it('is its content without spaces at the ends', async () => {
    const folder = await folderOf({key: '  s3cret\n\n'});
    expect(await resolveSecret({file: join(folder, 'key')}, {environment: {}})).toEqual({value: 's3cret'});
  });

  test.each([
    ['gone', undefined, /cannot be read: ENOENT$/],
    ['empty', '\n', /is empty$/],
    ['huge', 'x'.repeat(70_000), /is too large for a secret: more than 64 KiB$/],
  ])('that is %s is named and not shown', async (name, content, missing) => {
    const folder = await folderOf(content === undefined ? {} : {[name]: content});
    const secret = await resolveSecret({file: join(folder, name)}, {environment: {}});
    expect(secret).toEqual({missing: expect.stringMatching(missing)});
    expect(secret).toEqual({missing: expect.stringContaining(`file ${join(folder, name)} `)});
  });

  const isRoot = process.getuid?.() === 0;
  (isRoot ? it.skip : it)('that may not be read is named', async () => {
    const folder = await folderOf({key: 'x'});
    await chmod(join(folder, 'key'), 0);
    expect(await resolveSecret({file: join(folder, 'key')}, {environment: {}})).toEqual({
      missing: expect.stringMatching(/cannot be read: EACCES$/),
    });
  });
});

describe('a secret in a checkout of a repository', () => {
  const missing = (file: string): string => `file ${file} cannot be read: a symbolic link leads out of the repository`;

  async function repositories(): Promise<string> {
    const home = await folderOf({
      'git/a/revisions/1/key': 'in\n',
      'git/b/revisions/1/key': 'other\n',
      secret: 'X=out\n',
    });
    await symlink('revisions/1', join(home, 'git/a/checkout'));
    await mkdir(join(home, 'git/a/revisions/1/envs'));
    return home;
  }

  it('is read through the link to the revision in force', async () => {
    const home = await repositories();
    const file = join(home, 'git/a/checkout/key');
    expect(await resolveSecret({file}, {environment: {}, repositories: join(home, 'git')})).toEqual({value: 'in'});
  });

  it.each(['../../../../secret', '../../../b/revisions/1/key'])(
    'is not read where it is a link to %s',
    async target => {
      const home = await repositories();
      await symlink(target, join(home, 'git/a/revisions/1/leaf'));
      const file = join(home, 'git/a/checkout/leaf');
      const sources = {environment: {}, repositories: join(home, 'git')};
      expect(await resolveSecret({file}, sources)).toEqual({missing: missing(file)});
      expect(await resolveSecret({env: 'X'}, {...sources, envFile: file})).toEqual({
        missing: `environment variable X is not set, and ${file} cannot be read: a symbolic link leads out of the repository`,
      });
    },
  );
});
