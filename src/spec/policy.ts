/** Reads the operator's policy. Whoever could write it could allow anything: so it is asked whose it is. */
import {constants} from 'node:fs';
import {open} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import {exitCodes, InvalidInputError, TektonError} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import type {Policy} from '../api/policy.js';
import {hostPattern} from '../api/trust.js';
import {checkDocument} from './checked.js';
import {parse} from './document.js';
import type {SourceDocument} from './document.js';
import type {Variables} from './environment.js';
import {readStream} from './source.js';

export interface FoundPolicy {
  /** Where it stands, or would; absolute. */
  readonly file: string;
  /** undefined: there is none, and the strict defaults hold. */
  readonly policy: Policy | undefined;
}

/**
 * The policy of this machine: `$TEKTON_AI_POLICY`, else `policy.yaml` in the state folder. Only of the latter it is no
 * error that it is missing. A policy that can't be used is never taken for none.
 *
 * @throws as `loadPolicy`
 */
export async function findPolicy(environment: Variables, home: string): Promise<FoundPolicy> {
  const named = environment['TEKTON_AI_POLICY']?.trim();
  if (named) return {file: resolve(named), policy: await loadPolicy(resolve(named))};
  const file = join(home, 'policy.yaml');
  const policy = await loadPolicy(file).catch((error: unknown) => {
    if (error instanceof PolicyUnreadableError && error.isMissing) return undefined;
    throw error;
  });
  return {file, policy};
}

/** There is no telling what the operator allows. */
export class PolicyUnreadableError extends TektonError {
  override readonly name = 'PolicyUnreadableError';
  readonly isMissing: boolean;

  constructor(file: string, why: string, {hint, isMissing = false}: {hint?: string; isMissing?: boolean} = {}) {
    super(`cannot use the policy ${file}: ${why}`, {
      exitCode: exitCodes.invalidInput,
      ...(hint !== undefined && {hint}),
    });
    this.isMissing = isMissing;
  }
}

/**
 * @throws {PolicyUnreadableError} where it can't be read, or somebody else could have written it
 * @throws {InvalidInputError} with every problem in it
 */
export async function loadPolicy(file: string): Promise<Policy> {
  const text = await readOwn(file);
  const {documents, ...parsed} = parse({file, path: file, text});
  const problems = [...parsed.problems];
  const [first, second] = documents;
  if (second) problems.push(second.problem([], 'value', 'a policy is one document', 'join their `sources`'));
  const policy = first && (await policyOf(first, problems));
  if (!policy || problems.length > 0) throw new InvalidInputError(problems);
  return policy;
}

async function readOwn(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    const isMissing = error.code === 'ENOENT';
    throw new PolicyUnreadableError(file, isMissing ? 'there is no such file' : (error.code ?? error.message), {
      isMissing,
    });
  });
  try {
    const found = await handle.stat(); // of what is read, whatever stands under its name meanwhile
    if (!found.isFile()) throw new PolicyUnreadableError(file, 'it is not a file');
    const wrong = distrust(found, process.getuid?.() ?? 0);
    if (wrong) throw new PolicyUnreadableError(file, wrong.why, {hint: `${wrong.todo} ${file}`});
    const result = await readStream(handle.createReadStream({autoClose: false}), file);
    if (!result.ok) throw new InvalidInputError([result.problem]);
    return result.text;
  } finally {
    await handle.close();
  }
}

/** Why a file may be somebody else's word; undefined: only `self` and root can write it. */
export function distrust(
  {uid, mode}: {readonly uid: number; readonly mode: number},
  self: number,
): {readonly why: string; readonly todo: string} | undefined {
  if (uid !== self && uid !== 0) return {why: `user ${uid} owns it, not you or root`, todo: 'chown it to yourself:'};
  if ((mode & 0o022) !== 0) return {why: 'others than its owner can write it', todo: 'chmod go-w'};
  return undefined;
}

async function policyOf(source: SourceDocument, problems: Problem[]): Promise<Policy | undefined> {
  if (source.value['kind'] !== 'Policy') {
    problems.push(source.problem(['kind'], 'value', '`kind` must be Policy'));
    return undefined;
  }
  const checked = await checkDocument('Policy', source);
  problems.push(...checked.problems);
  const {spec} = checked.value as unknown as {spec: Policy}; // what its schema refused is taken out
  problems.push(...checkRules(source, spec));
  return spec;
}

function checkRules(source: SourceDocument, {sources = []}: Policy): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [index, rule] of sources.entries()) {
    if (typeof rule !== 'object') continue; // taken out: its problem is told already
    const path = ['spec', 'sources', String(index)];
    problems.push(...checkHosts(source, [...path, 'hosts'], rule.hosts));
    for (const [nth, secret] of (rule.secrets ?? []).entries()) {
      if (typeof secret !== 'object') continue;
      const at = [...path, 'secrets', String(nth)];
      const {hosts = [], use = []} = secret;
      if (source.has([...at, 'env']) === source.has([...at, 'file'])) {
        problems.push(source.problem(at, 'value', 'a secret needs exactly one of `env`, `file`'));
      }
      if (hosts.length + use.length === 0 && !source.has([...at, 'hosts']) && !source.has([...at, 'use'])) {
        problems.push(source.problem(at, 'value', 'this allows nothing: say `hosts`, or `use`'));
      }
      problems.push(...checkHosts(source, [...at, 'hosts'], hosts));
    }
  }
  return problems;
}

function checkHosts(
  source: SourceDocument,
  path: readonly string[],
  hosts: readonly string[] = [],
): readonly Problem[] {
  return hosts.flatMap((host, index) => {
    if (typeof host !== 'string') return [];
    const pattern = hostPattern(host);
    const isGood = pattern && (pattern.port === undefined || pattern.port <= 65_535);
    return isGood
      ? []
      : [source.problem([...path, String(index)], 'value', `\`${host}\` is not [http[s]://]host[:port]`)];
  });
}
