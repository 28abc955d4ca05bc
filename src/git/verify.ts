/** Signatures of commits and tags. Only git's own check of a signature counts, and only of the wanted signers. */
import type {GitVerification} from '../api/git-source.js';
import {isCommitId} from '../api/git-address.js';
import type {GitRepository} from './copy.js';
import {VerificationError, gitWords} from './errors.js';
import type {GitProgram} from './program.js';

export interface SignedObject {
  readonly commit: string;
  /** Of the tag, when tags are what is verified. */
  readonly name: string | undefined;
  readonly verification: GitVerification;
}

/** Git verifies ssh signatures since 2.34. */
const sshVersion = 2_034;

/**
 * @returns who signed: a principal of the allowed signers, or the fingerprint of a key.
 * @throws {VerificationError} not signed, or not as wanted
 */
export async function verifySignature(
  git: GitProgram,
  repository: GitRepository,
  {commit, name, verification}: SignedObject,
  signal: AbortSignal,
): Promise<{readonly signer: string}> {
  const {object, by} = verification;
  const version = await git.version();
  if (by.type === 'ssh' && version < sshVersion) {
    throw new VerificationError('cannot verify ssh signatures: git is older than 2.34', {
      hint: 'Install a newer git; until then nothing of this source is put in force.',
    });
  }
  const id = object === 'commit' ? commit : await tagOf(repository, commit, name, signal);
  const what = object === 'commit' ? `commit ${commit.slice(0, 12)}` : `tag ${name}`;
  const config = by.type === 'ssh' ? ['-c', `gpg.ssh.allowedSignersFile=${by.allowedSigners}`] : [];
  const result = await git.run(`cannot verify ${what}`, [...config, `verify-${object}`, '--raw', id], signal, {
    gitDir: repository.gitDir,
    variables: {GNUPGHOME: by.type === 'gpg' && by.home !== undefined ? by.home : undefined},
  });
  const judged = by.type === 'ssh' ? judgeSsh(result.stderr) : judgeGpg(result.stderr, by.fingerprints);
  if (judged.signer !== undefined && result.exitCode === 0) return {signer: judged.signer};
  const said = judged.why ?? gitWords(result.stderr);
  throw new VerificationError(`${what} is not signed as wanted: ${said === '' ? 'it bears no signature' : said}`, {
    hint: 'The last good revision stays in force. Sign it with an allowed key, or change spec.verify.',
  });
}

/**
 * The tag object that `name` is. It names itself and its commit within what is signed: else whoever can push could hang an
 * old signed tag under a new name.
 */
async function tagOf(
  repository: GitRepository,
  commit: string,
  name: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const id = name === undefined ? undefined : repository.tag(name);
  const refuse = (why: string): never => {
    throw new VerificationError(
      `${name === undefined ? `commit ${commit.slice(0, 12)}` : `tag ${name}`} is not signed as wanted: ${why}`,
      {
        hint: 'verify.object: tag wants a signed annotated tag (git tag -s) that the source follows by ref.tag.',
      },
    );
  };
  if (id === undefined) return refuse('no tag is followed');
  const type = (await repository.read(['cat-file', '-t', id], signal)).trim();
  if (type !== 'tag') return refuse('it is a lightweight tag, which bears no signature');
  const text = await repository.read(['cat-file', 'tag', id], signal);
  const header = new Map(
    (text.split('\n\n', 1)[0] ?? '')
      .split('\n')
      .map(line => [line.split(' ', 1)[0] ?? '', line.slice(line.indexOf(' ') + 1)]),
  );
  const target = header.get('object') ?? '';
  if (header.get('type') !== 'commit' || !isCommitId(target)) return refuse('it does not point to a commit');
  if (target !== commit) return refuse(`it points to ${target.slice(0, 12)}, not to ${commit.slice(0, 12)}`);
  if (header.get('tag') !== name) {
    return refuse(`it was signed under the name ${JSON.stringify(header.get('tag') ?? '')}`);
  }
  return id;
}

export interface Judgement {
  readonly signer?: string;
  readonly why?: string;
}

/** What `ssh-keygen -Y verify` says through git: one line, which names the principal only when the key is his. */
export function judgeSsh(stderr: string): Judgement {
  const lines = stderr.split('\n').filter(line => line.trim() !== '');
  if (lines.some(line => line.startsWith('[GNUPG:]'))) {
    return {why: 'the signature is of GPG, and one of ssh is wanted'};
  }
  const good = lines.flatMap(line => {
    const [, signer, key] = /^Good "git" signature for (.+) with \S+ key (SHA256:\S+)$/.exec(line) ?? [];
    return signer === undefined || key === undefined ? [] : [{signer, key}];
  });
  const [first] = good;
  if (first !== undefined && good.length === 1 && lines.length === 1) return {signer: first.signer};
  const unknown = lines
    .map(line => /^Good "git" signature with \S+ key (SHA256:\S+)/.exec(line)?.[1])
    .find(key => key !== undefined);
  if (unknown !== undefined) return {why: `the key ${unknown} is none of the allowed signers`};
  if (lines.length === 0) return {};
  return {why: gitWords(stderr) || 'the signature is not valid'};
}

const bad: Readonly<Record<string, string>> = {
  BADSIG: 'the signature does not fit what is signed',
  ERRSIG: 'the signature could not be checked (the key is not in the keyring)',
  EXPSIG: 'the signature has expired',
  EXPKEYSIG: 'the key has expired',
  REVKEYSIG: 'the key is revoked',
};

/** What gpg says on its status line (doc/DETAILS of GnuPG). One signature alone, good, by a wanted key or a subkey of it. */
export function judgeGpg(stderr: string, wanted: readonly string[]): Judgement {
  const words = stderr
    .split('\n')
    .filter(line => line.startsWith('[GNUPG:] '))
    .map(line => line.slice('[GNUPG:] '.length).split(' '));
  const of = (keyword: string): readonly (readonly string[])[] => words.filter(([first]) => first === keyword);
  if (/^(Good|Could not verify) "git" signature/m.test(stderr)) {
    return {why: 'the signature is of ssh, and one of GPG is wanted'};
  }
  for (const [keyword, why] of Object.entries(bad)) if (of(keyword).length > 0) return {why};
  const [valid] = of('VALIDSIG');
  if (valid === undefined || of('GOODSIG').length !== 1 || of('VALIDSIG').length !== 1) return {};
  const fingerprints = [valid[1], valid[10]].filter(text => text !== undefined).map(text => text.toUpperCase());
  const allowed = new Set(
    wanted.map(text => text.replaceAll(/\s/g, '').toUpperCase()).filter(text => text.length >= 40),
  );
  const signer = fingerprints.find(fingerprint => allowed.has(fingerprint));
  return signer === undefined ? {why: `the key ${fingerprints.join(' of ')} is none of the wanted ones`} : {signer};
}
