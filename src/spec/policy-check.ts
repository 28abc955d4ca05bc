/** What a repository declares, held against what the operator trusts it with. Pure. */
import {forgeOf} from '../api/commit-status.js';
import {defaultOllamaUrl} from '../api/defaults.js';
import type {Problem} from '../api/errors.js';
import type {CommitStatusDestination, NotificationSpec, WebhookDestination} from '../api/notifications.js';
import type {PolicyRule, SecretUse, Trust} from '../api/policy.js';
import type {Desired, LoadedFleet, NamedProvider, Origin, SecretRef} from '../api/types.js';
import {refusalOf} from './worker-variables.js';

export interface PolicyFacts {
  readonly trust: Trust;
  /** Where the policy stands, or would: hints name it. */
  readonly policyFile: string;
}

/** All that a fleet of a git source wants and may not have, at the places where it says so; each place once. */
export function checkPolicy(fleet: LoadedFleet, facts: PolicyFacts): readonly Problem[] {
  const problems = [
    ...fleet.specialists.flatMap(desired => checkSpecialist(desired, facts)),
    ...(fleet.notifications ?? []).flatMap(notification => checkNotification(notification, facts)),
  ];
  return [...new Map(problems.map(problem => [JSON.stringify(problem), problem])).values()];
}

function checkSpecialist(desired: Desired, facts: PolicyFacts): readonly Problem[] {
  const {spec, provider, fallbackProviders = []} = desired;
  const say = (
    paths: readonly string[],
    message: string,
    rule?: Omit<PolicyRule, 'match'>,
    note?: string,
  ): Problem => ({
    ...placeOf(desired.origins, paths, facts),
    message,
    ...hintOf(rule, note, facts),
  });
  return [
    ...checkProvider(provider, path => `provider.${path}`, {desired, facts, say}),
    ...fallbackProviders.flatMap(one =>
      checkProvider(one, path => `fallbackProvider.${one.name}.${path}`, {desired, facts, say}),
    ),
    ...checkEnv(desired, facts, say),
    ...(spec.auth ? checkUse(spec.auth.token, 'auth', 'auth.token', {facts, say}) : []),
    ...checkHost(desired, facts, say),
    ...checkPull(desired, facts, say),
  ];
}

type Say = (paths: readonly string[], message: string, rule?: Omit<PolicyRule, 'match'>, note?: string) => Problem;

interface Context {
  readonly desired: Desired;
  readonly facts: PolicyFacts;
  readonly say: Say;
}

/** Who is told of events: a repository that could name any address, program or file would have the machine. */
function checkNotification({name, to, origin}: NotificationSpec, facts: PolicyFacts): readonly Problem[] {
  const {trust} = facts;
  const say = (message: string, rule?: Omit<PolicyRule, 'match'>, note?: string): Problem => ({
    ...placeOf({component: origin}, [], facts),
    message: `notification \`${name}\`: ${message}`,
    ...hintOf(rule, note, facts),
  });
  switch (to.type) {
    case 'webhook':
      return checkWebhook(to, facts, say);
    case 'command': {
      const [program = ''] = to.argv;
      const variables = Object.entries(to.env).flatMap(([variable, value]) => {
        const refusal = refusalOf(variable, 'repository');
        if (refusal !== undefined) return [say(`\`${variable}\` may not be set by a repository: ${refusal}`)];
        if (typeof value === 'string' || trust.mayUse(value, 'env')) return [];
        return [say(`${named(value)} may not go into a program's environment`, {secrets: [{...value, use: ['env']}]})];
      });
      return [
        ...(trust.mayRun(program) ? [] : [say(`it may not run ${program}`, {commands: [program]})]),
        ...variables,
      ];
    }
    case 'commitStatus':
      return checkCommitStatus(to, facts, say);
    case 'file':
      return trust.mayAppend(to.path) ? [] : [say(`it may not append to ${to.path}`, {files: [to.path]})];
  }
}

function checkWebhook(
  {url, headers, secret}: WebhookDestination,
  {trust}: PolicyFacts,
  say: (message: string, rule?: Omit<PolicyRule, 'match'>, note?: string) => Problem,
): readonly Problem[] {
  const sent = [...Object.values(headers), ...(secret ? [secret] : [])].filter(value => typeof value !== 'string');
  // An address that is a secret is known when it is used: what goes there has to be allowed for webhooks as such.
  const hidden = typeof url === 'string' ? [] : [url, ...sent];
  const shownUrl = typeof url === 'string' ? url : undefined;
  // It could say any.
  if (typeof url !== 'string' && isIn(url, trust)) {
    return [say(`its address may not come from ${named(url)}`, undefined, 'write it as text')];
  }
  const problems = hidden
    .filter(ref => !trust.mayUse(ref, 'webhook'))
    .map(ref => say(`${named(ref)} may not be used for it`, {secrets: [{...ref, use: ['webhook']}]}));
  if (shownUrl === undefined) return problems;
  if (!trust.mayReach(shownUrl)) {
    const rule = canBeAllowed(shownUrl) ? {hosts: [hostOf(shownUrl)]} : undefined;
    problems.push(say(`it may not speak to ${shown(shownUrl)}`, rule, whyNot(shownUrl)));
  }
  for (const ref of sent.filter(one => !trust.maySend(shownUrl, one))) {
    const rule = canBeAllowed(shownUrl) ? {secrets: [{...ref, hosts: [plainHost(shownUrl)]}]} : undefined;
    problems.push(say(`${named(ref)} may not be sent to ${shown(shownUrl)}`, rule, whyNot(shownUrl)));
  }
  return problems;
}

function checkCommitStatus(
  to: CommitStatusDestination,
  {trust}: PolicyFacts,
  say: (message: string, rule?: Omit<PolicyRule, 'match'>, note?: string) => Problem,
): readonly Problem[] {
  const forge = forgeOf(to, trust.source.url);
  if ('problem' in forge) return [say(forge.problem)];
  const {api} = forge;
  if (trust.maySend(api, to.token)) return [];
  const isKnown = trust.mayReach(api);
  // Whoever may be sent a secret may be reached as well.
  const rule = canBeAllowed(api) ? {secrets: [{...to.token, hosts: [plainHost(api)]}]} : undefined;
  const what = isKnown ? `${named(to.token)} may not be sent to ${shown(api)}` : `it may not speak to ${shown(api)}`;
  return [say(what, rule, whyNot(api))];
}

/** Where a provider sends its requests, and which of them carry its key. */
function routesOf({type, baseUrl, choices}: NamedProvider): readonly {url: string; path: string; keyed: boolean}[] {
  switch (type) {
    case 'ollama':
      return [{url: baseUrl ?? defaultOllamaUrl, path: 'baseUrl', keyed: true}];
    case 'anthropic':
      return [{url: baseUrl ?? 'https://api.anthropic.com', path: 'baseUrl', keyed: true}];
    case 'openai':
      return [{url: baseUrl ?? 'https://api.openai.com/v1', path: 'baseUrl', keyed: true}];
    case 'auto':
      return [
        {url: baseUrl ?? defaultOllamaUrl, path: 'baseUrl', keyed: false},
        {
          url: choices?.anthropic?.baseUrl ?? 'https://api.anthropic.com',
          path: 'choices.anthropic.baseUrl',
          keyed: true,
        },
      ];
    case 'offline':
    case 'scripted':
      return [];
  }
}

function checkProvider(
  provider: NamedProvider,
  at: (path: string) => string,
  {desired, facts: {trust}, say}: Context,
): readonly Problem[] {
  const {name, apiKey, script} = provider;
  const routes = routesOf(provider);
  const problems = routes
    // What the operator's own environment says is the operator's word.
    .filter(({url, path}) => !isOperators(desired.origins[at(path)]) && !trust.mayReach(url))
    .map(({url, path}) => {
      const message = `provider \`${name}\` may not speak to ${shown(url)}`;
      return say([at(path)], message, canBeAllowed(url) ? {hosts: [hostOf(url)]} : undefined, whyNot(url));
    });
  if (apiKey) {
    const keyPaths = [at('apiKey.env'), at('apiKey.file')];
    const keyed = routes.filter(route => route.keyed);
    problems.push(
      ...keyed
        .filter(
          ({url}) =>
            !trust.maySend(url, apiKey) && (isOperators(desired.origins[at('baseUrl')]) || trust.mayReach(url)),
        )
        .map(({url, path}) =>
          say(
            [...keyPaths, at(path)],
            `the key of provider \`${name}\`, ${named(apiKey)}, may not be sent to ${shown(url)}`,
            canBeAllowed(url) ? {secrets: [{...apiKey, hosts: [plainHost(url)]}]} : undefined,
            whyNot(url),
          ),
        ),
    );
    if (keyed.length === 0 && !isIn(apiKey, trust)) {
      problems.push(say(keyPaths, `provider \`${name}\` has no use for a key: ${named(apiKey)} may not be read`));
    }
  }
  if (script !== undefined && !trust.mayInclude(script)) {
    const rule = {includes: [script.slice(0, script.lastIndexOf('/')) || '/']};
    problems.push(say([at('script')], `the answers file ${script} lies outside of the repository`, rule));
  }
  return problems;
}

function checkEnv({spec}: Desired, facts: PolicyFacts, say: Say): readonly Problem[] {
  return Object.entries(spec.env).flatMap(([variable, value]) => {
    const path = `env.${variable}`;
    const refusal = refusalOf(variable, 'repository');
    if (refusal !== undefined) {
      return [say([path, `${path}.env`, `${path}.file`], `\`${variable}\` may not be set by a repository: ${refusal}`)];
    }
    return typeof value === 'string' ? [] : checkUse(value, 'env', path, {facts, say});
  });
}

function checkUse(
  secret: SecretRef,
  use: SecretUse,
  path: string,
  {facts: {trust}, say}: Omit<Context, 'desired'>,
): readonly Problem[] {
  if (trust.mayUse(secret, use)) return [];
  const what = use === 'auth' ? "a specialist's token" : "a worker's environment";
  return [
    say([`${path}.env`, `${path}.file`], `${named(secret)} may not go into ${what}`, {
      secrets: [{...secret, use: [use]}],
    }),
  ];
}

function checkHost({spec: {host}}: Desired, {trust}: PolicyFacts, say: Say): readonly Problem[] {
  if (trust.mayListen(host)) return [];
  return [say(['host'], `a specialist may not listen on \`${host}\`, beyond loopback`, {bind: [host]})];
}

/** A model may be of any size, and its name may mean a registry anywhere. */
function checkPull(
  {spec, provider, fallbackProviders = []}: Desired,
  {trust}: PolicyFacts,
  say: Say,
): readonly Problem[] {
  if (spec.pull !== 'IfNotPresent') return [];
  const choices = [
    {type: provider.type, model: spec.model},
    ...spec.fallback.map(({model}, index) => ({type: fallbackProviders[index]?.type, model})),
  ];
  return choices
    .filter(({type, model}) => (type === 'ollama' || type === 'auto') && !trust.mayPull(model))
    .map(({model}) => say(['pull'], `Ollama may not be told to fetch \`${model}\``, {pull: [model]}));
}

function isIn(secret: SecretRef, {source}: Trust): boolean {
  return 'file' in secret && secret.file.startsWith(`${source.checkout}/`);
}

function isOperators(origin: Origin | undefined): boolean {
  return origin?.type === 'env' && origin.file === undefined;
}

function named(secret: SecretRef): string {
  return 'env' in secret ? `the variable ${secret.env}` : `the file ${secret.file}`;
}

/** No user name, no path: an address as the policy has it. */
function shown(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'that address';
}

function hostOf(url: string): string {
  return new URL(url).host;
}

/** With its scheme where that has to be said: a secret goes over plain http only on purpose. */
function plainHost(url: string): string {
  const {protocol, host} = new URL(url);
  return protocol === 'http:' ? `http://${host}` : host;
}

function canBeAllowed(url: string): boolean {
  return URL.canParse(url) && whyNot(url) === undefined;
}

function whyNot(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const {username, password} = new URL(url);
  return username !== '' || password !== '' ? 'an address with a user name in it is never allowed' : undefined;
}

/** Of the first of the paths that somebody wrote. */
function placeOf(
  origins: Desired['origins'],
  paths: readonly string[],
  {trust}: PolicyFacts,
): Omit<Problem, 'message'> {
  const known = [...paths, 'provider', 'component'].map(path => origins[path]);
  const origin = known.find(one => one && one.type !== 'built-in' && one.file !== undefined);
  const file = origin && 'file' in origin ? (origin.file ?? '') : '';
  const line = origin && 'line' in origin ? (origin.line ?? 1) : 1;
  const prefix = `${trust.source.checkout}/`;
  return {file: file.startsWith(prefix) ? file.slice(prefix.length) : file, line, column: 1};
}

function hintOf(
  rule: Omit<PolicyRule, 'match'> | undefined,
  note: string | undefined,
  {trust, policyFile}: PolicyFacts,
): {hint?: string} {
  if (note !== undefined) return {hint: note};
  if (rule === undefined) return {};
  const lines = Object.entries({match: {name: trust.source.name}, ...rule}).map(
    ([key, value]) => `${key}: ${flow(value)}`,
  );
  return {hint: `the operator may allow it in ${policyFile}, under spec.sources: - {${lines.join(', ')}}`};
}

/** YAML in one line. */
function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, field]) => `${key}: ${flow(field)}`)
    .join(', ')}}`;
}
