import {execFileSync} from 'node:child_process';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import type {GitRef, GitVerification} from '../../src/api/git-source.js';
import {VerificationError} from '../../src/git/errors.js';
import type {Repository} from '../../src/git/repository.js';
import {judgeGpg, judgeSsh} from '../../src/git/verify.js';
import {describeGit, gitVersion, hasProgram, type SigningKey} from '../fakes/git.js';
import {World} from './world.js';

const [, major = '0', minor = '0'] = gitVersion ?? [];
const knowsSsh = Number(major) * 1_000 + Number(minor) >= 2_034 && hasProgram('ssh-keygen');

let world: World;
let ours: Repository;

beforeAll(() => {
  world = new World();
});

afterAll(() => world.remove());

async function verify(ref: GitRef, verification: GitVerification): Promise<string> {
  const seen = await ours.look(ref, world.signal);
  const commit = await ours.fetch({...seen, ref}, undefined, world.signal);
  return (await ours.verify(commit.id, seen.name, verification, world.signal)).signer;
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VerificationError);
  return (error as VerificationError).message;
}

const main: GitRef = {type: 'branch', name: 'main'};
const tag = (name: string): GitRef => ({type: 'tag', pattern: name});

describeGit('signatures of ssh', () => {
  if (!knowsSsh) return void test.skip('need git 2.34 and ssh-keygen', () => undefined);
  let [ada, eve]: SigningKey[] = [];
  let allowed: GitVerification;
  let allowedTag: GitVerification;

  beforeAll(() => {
    [ada, eve] = [world.remote.sshKey('ada@example.com'), world.remote.sshKey('eve@example.com')];
    const by = {type: 'ssh', allowedSigners: world.remote.allowedSigners(ada)} as const;
    [allowed, allowedTag] = [
      {object: 'commit', by},
      {object: 'tag', by},
    ];
  });

  beforeEach(async () => {
    ours = await world.ours();
  });

  test('of an allowed signer are good', async () => {
    world.remote.push({'a.yaml': '1'}, {sign: ada!});
    expect(await verify(main, allowed)).toBe('ada@example.com');
  });

  test('of somebody else are not', async () => {
    world.remote.push({'a.yaml': '2'}, {sign: eve!});
    expect(await refusal(verify(main, allowed))).toMatch(/key SHA256:\S+ is none of the allowed signers/);
  });

  test('must be there', async () => {
    world.remote.push({'a.yaml': '3'});
    expect(await refusal(verify(main, allowed))).toMatch(/it bears no signature/);
  });

  test('must fit what is signed', async () => {
    world.remote.push({'a.yaml': '4'}, {sign: ada!, message: 'good words'});
    const forged = world.remote.git('cat-file', 'commit', 'HEAD').replace('good words', 'evil words');
    const id = hashObject('commit', forged);
    world.remote.git('push', '--quiet', 'origin', `${id}:refs/heads/forged`);
    expect(await refusal(verify({type: 'branch', name: 'forged'}, allowed))).toMatch(/not signed as wanted/);
  });

  test('need an allowed-signers file that is there', async () => {
    world.remote.push({'a.yaml': '5'}, {sign: ada!});
    const by = {type: 'ssh', allowedSigners: join(world.home, 'nowhere')} as const;
    await refusal(verify(main, {object: 'commit', by}));
  });

  test('of keys that were made for something else than git do not count', async () => {
    const [principal = '', ...key] = ada!.public.split(' ');
    const file = join(world.home, 'files-only');
    writeFileSync(file, `${principal} namespaces="file" ${key.join(' ')}\n`);
    world.remote.push({'a.yaml': '6'}, {sign: ada!});
    await refusal(verify(main, {object: 'commit', by: {type: 'ssh', allowedSigners: file}}));
  });

  test('of a tag are good when it points to the commit', async () => {
    world.remote.push({'a.yaml': '7'});
    world.remote.tag('v1.0.0', {sign: ada!});
    expect(await verify(tag('v1.*'), allowedTag)).toBe('ada@example.com');
    expect(await refusal(verify(tag('v1.*'), allowed))).toMatch(/^commit /);
  });

  test.each([
    ['a lightweight tag', () => world.remote.tag('v2'), /lightweight/],
    ['an annotated tag', () => world.remote.tag('v2', {annotated: true}), /no signature/],
    ["somebody else's tag", () => world.remote.tag('v2', {sign: eve!}), /none of the allowed signers/],
    [
      'a tag that was signed under another name',
      () => {
        world.remote.tag('v1.9', {sign: ada!});
        world.remote.git('push', '--quiet', '--force', 'origin', 'refs/tags/v1.9:refs/tags/v2');
      },
      /signed under the name "v1.9"/,
    ],
  ])('refuse %s', async (_, arrange, why) => {
    world.remote.push({});
    arrange();
    expect(await refusal(verify(tag('v2'), allowedTag))).toMatch(why);
  });

  test('of a tag that is made anew for the same commit count at once', async () => {
    world.remote.push({'a.yaml': '8'});
    world.remote.tag('v3', {annotated: true});
    await refusal(verify(tag('v3'), allowedTag));
    world.remote.tag('v3', {sign: ada!});
    expect(await verify(tag('v3'), allowedTag)).toBe('ada@example.com');
  });

  test('refuse a branch where a tag is wanted', async () => {
    world.remote.push({'a.yaml': '9'}, {sign: ada!});
    expect(await refusal(verify(main, allowedTag))).toMatch(/no tag is followed/);
  });

  test('refuse a tag that points to another commit than the one in question', async () => {
    const first = world.remote.push({'a.yaml': '10'});
    const ref = tag('v4');
    world.remote.tag('v4', {sign: ada!});
    const seen = await ours.look(ref, world.signal);
    await ours.fetch({...seen, ref}, undefined, world.signal);
    const second = world.remote.push({'a.yaml': '11'});
    await ours.fetch({commit: second, ref: main}, first, world.signal);
    expect(await refusal(ours.verify(second, 'v4', allowedTag, world.signal))).toMatch(/points to/);
  });

  function hashObject(type: string, text: string): string {
    const options = {cwd: world.remote.work, env: world.remote.environment, input: text, encoding: 'utf8'} as const;
    return execFileSync('git', ['hash-object', '-t', type, '-w', '--stdin'], options).trim();
  }
});

describeGit('signatures of GPG', () => {
  if (!hasProgram('gpg')) return void test.skip('need gpg', () => undefined);
  let [ada, eve]: SigningKey[] = [];
  let wanted: GitVerification;

  beforeAll(() => {
    [ada, eve] = [world.remote.gpgKey('Ada <ada@example.com>'), world.remote.gpgKey('Eve <eve@example.com>')];
    wanted = {object: 'commit', by: {type: 'gpg', fingerprints: [ada.public]}};
  });

  beforeEach(async () => {
    ours = await world.ours();
  });

  test('of a wanted key are good, in the keyring of the user and in another', async () => {
    world.remote.push({'a.yaml': 'g1'}, {sign: ada!});
    expect(await verify(main, wanted)).toBe(ada!.public);
    const home = world.remote.environment['GNUPGHOME']!;
    const {GNUPGHOME: _, ...environment} = world.remote.environment;
    ours = await world.ours({environment});
    await refusal(verify(main, wanted));
    const spaced = ada!.public.toLowerCase().replaceAll(/(.{4})/g, '$1 ');
    expect(await verify(main, {object: 'commit', by: {type: 'gpg', fingerprints: [spaced], home}})).toBe(ada!.public);
  });

  test('of another key in the same keyring are not', async () => {
    world.remote.push({'a.yaml': 'g2'}, {sign: eve!});
    expect(await refusal(verify(main, wanted))).toMatch(/none of the wanted ones/);
  });

  test('must be there', async () => {
    world.remote.push({'a.yaml': 'g3'});
    expect(await refusal(verify(main, wanted))).toMatch(/bears no signature/);
  });

  test('of a tag are good', async () => {
    world.remote.push({'a.yaml': 'g4'});
    world.remote.tag('g4', {sign: ada!});
    expect(await verify(tag('g4'), {...wanted, object: 'tag'})).toBe(ada!.public);
  });

  test('of a revoked key are refused', async () => {
    const mallory = world.remote.gpgKey('Mallory <mallory@example.com>');
    world.remote.push({'a.yaml': 'g5'}, {sign: mallory});
    const verification: GitVerification = {object: 'commit', by: {type: 'gpg', fingerprints: [mallory.public]}};
    expect(await verify(main, verification)).toBe(mallory.public);
    const certificate = join(world.remote.environment['GNUPGHOME']!, 'openpgp-revocs.d', `${mallory.public}.rev`);
    const text = execFileSync('sed', ['s/^:---/---/', certificate], {encoding: 'utf8'});
    world.remote.gpg(['--batch', '--import'], text);
    expect(await refusal(verify(main, verification))).toMatch(/revoked/);
  });

  test('do not count where ssh is wanted', async () => {
    world.remote.push({'a.yaml': 'g6'}, {sign: ada!});
    const allowedSigners = join(world.home, 'allowed');
    writeFileSync(allowedSigners, '');
    await refusal(verify(main, {object: 'commit', by: {type: 'ssh', allowedSigners}}));
  });
});

const [fingerprint, primary] = ['A'.repeat(40), 'B'.repeat(40)];
const good = '[GNUPG:] GOODSIG 0123456789ABCDEF Ada <ada@example.com>\n';
const valid = `[GNUPG:] VALIDSIG ${fingerprint} 2026-01-01 1767225600 0 4 0 22 8 00 ${primary}\n`;

describe('what gpg says', () => {
  test.each([
    ['the key itself', good + valid, [fingerprint], fingerprint],
    ['a subkey of it', good + valid, [primary], primary],
  ])('is good by %s', (_, status, wanted, signer) => {
    expect(judgeGpg(status, wanted)).toEqual({signer});
  });

  test.each([
    ['nothing', ''],
    ['a good signature that is not said to be valid', good],
    ['a valid signature that is not said to be good', valid],
    ['two signatures', good + valid + good + valid],
    ['an expired signature', `[GNUPG:] EXPSIG 01 Ada\n${valid}`],
    ['an expired key', `[GNUPG:] EXPKEYSIG 01 Ada\n${valid}`],
    ['a revoked key', `[GNUPG:] REVKEYSIG 01 Ada\n${valid}`],
    ['one good and one bad', `${good}${valid}[GNUPG:] BADSIG 01 Eve\n`],
    ['a key that is not there', '[GNUPG:] ERRSIG 01 22 8 00 1 9 -\n[GNUPG:] NO_PUBKEY 01\n'],
    ['a line that only looks like status', good + valid.replace('[GNUPG:]', 'x [GNUPG:]')],
    ['a signature of ssh beside', `${good}${valid}Good "git" signature for ada with ED25519 key SHA256:abc\n`],
  ])('is refused: %s', (_, status) => {
    expect(judgeGpg(status, [fingerprint, primary])).not.toHaveProperty('signer');
  });

  test('is refused when only the end of a fingerprint is given', () => {
    expect(judgeGpg(good + valid, [fingerprint.slice(-16)])).not.toHaveProperty('signer');
  });
});

describe('what ssh-keygen says', () => {
  const line = 'Good "git" signature for ada@example.com with ED25519 key SHA256:abc+/\n';

  test('is good by a principal', () => {
    expect(judgeSsh(line)).toEqual({signer: 'ada@example.com'});
  });

  test.each([
    ['nothing', ''],
    ['a key that nobody has', 'Good "git" signature with ED25519 key SHA256:abc\nNo principal matched.\n'],
    ['another use', line.replace('"git"', '"file"')],
    ['two lines', line + line],
    ['a word of gpg', `${line}${good}`],
    ['a bad signature', 'Could not verify signature.\n'],
  ])('is refused: %s', (_, said) => {
    expect(judgeSsh(said)).not.toHaveProperty('signer');
  });
});
