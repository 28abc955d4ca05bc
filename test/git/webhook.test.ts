import {createHmac} from 'node:crypto';
import {describe, expect, test} from '@jest/globals';
import {namesRepository, parseWebhook, webhookBodyBytes, type WebhookHeaders} from '../../src/git/webhook.js';

const secret = "It's a Secret to Everybody";
const after = 'bffeb74224043ba2feb48d137756c8a9331c449a';
const zero = '0'.repeat(40);

const hmac = (body: string, key = secret): string => createHmac('sha256', key).update(body).digest('hex');

/** Shapes as in the servers' documentation, cut to what is near to what we read. */
const payloads = {
  github: {
    ref: 'refs/heads/main',
    before: '28e1879d029cb852e4844d9c718537df08844e03',
    after,
    forced: false,
    deleted: false,
    repository: {
      id: 99_999,
      full_name: 'acme/platform',
      html_url: 'https://github.com/acme/platform',
      url: 'https://github.com/acme/platform',
      git_url: 'git://github.com/acme/platform.git',
      ssh_url: 'git@github.com:acme/platform.git',
      clone_url: 'https://github.com/acme/platform.git',
    },
    commits: [{id: after, message: 'Zürich', modified: ['envs/dev/tekton-ai.yaml']}],
  },
  gitea: {
    ref: 'refs/heads/develop',
    before: '28e1879d029cb852e4844d9c718537df08844e03',
    after,
    repository: {
      full_name: 'gitea/webhooks',
      html_url: 'http://localhost:3000/gitea/webhooks',
      ssh_url: 'ssh://gitea@localhost:2222/gitea/webhooks.git',
      clone_url: 'http://localhost:3000/gitea/webhooks.git',
    },
  },
  gitlab: {
    object_kind: 'push',
    event_name: 'push',
    before: '95790bf891e76fee5e1747ab589903a6a1f80f22',
    after: 'da1560886d4f094c3e6c9ef40349f7d38b5d27d7',
    ref: 'refs/heads/master',
    checkout_sha: 'da1560886d4f094c3e6c9ef40349f7d38b5d27d7',
    project: {
      web_url: 'http://example.com/mike/diaspora',
      git_ssh_url: 'git@example.com:mike/diaspora.git',
      git_http_url: 'http://example.com/mike/diaspora.git',
    },
    repository: {
      url: 'git@example.com:mike/diaspora.git',
      git_http_url: 'http://example.com/mike/diaspora.git',
      git_ssh_url: 'git@example.com:mike/diaspora.git',
    },
  },
} as const;

function parse(payload: unknown, headers: (body: string) => WebhookHeaders, key = secret) {
  const body = typeof payload === 'string' ? payload : JSON.stringify(payload);
  return parseWebhook({headers: headers(body), body: Buffer.from(body), secret: key});
}

const github =
  (event: string, more: WebhookHeaders = {}) =>
  (body: string): WebhookHeaders => ({'x-github-event': event, 'x-hub-signature-256': `sha256=${hmac(body)}`, ...more});

describe('what a server tells', () => {
  test("believes the example of GitHub's documentation", () => {
    const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
    const request = {headers: {'x-hub-signature-256': signature}, body: Buffer.from('Hello, World!'), secret};
    // Believed, and then no JSON.
    expect(parseWebhook(request)).toMatchObject({ok: false, status: 400});
    expect(parseWebhook({...request, body: Buffer.from('Hello, World?')})).toMatchObject({ok: false, status: 401});
  });

  test('reads a push of GitHub', () => {
    const message = parse(payloads.github, github('push'));
    expect(message).toMatchObject({ok: true, event: 'push', ref: 'refs/heads/main', commit: after});
    expect(message.ok && message.repositoryUrls).toContain('https://github.com/acme/platform.git');
    expect(message.ok && message.repositoryUrls).toContain('git@github.com:acme/platform.git');
  });

  test('reads a push of GitHub that is sent as a form', () => {
    const body = `payload=${encodeURIComponent(JSON.stringify(payloads.github))}`;
    const headers = github('push', {'content-type': 'application/x-www-form-urlencoded'});
    expect(parse(body, headers)).toMatchObject({ok: true, event: 'push', commit: after});
  });

  test('reads a push of Gitea, which signs for GitHub and Gogs as well', () => {
    const message = parse(payloads.gitea, body => ({
      'x-gitea-event': 'push',
      'x-gogs-event': 'push',
      'x-github-event': 'push',
      'x-gitea-signature': hmac(body),
      'x-gogs-signature': hmac(body),
      'x-hub-signature-256': `sha256=${hmac(body)}`,
    }));
    expect(message).toMatchObject({ok: true, event: 'push', ref: 'refs/heads/develop', commit: after});
  });

  test('reads a push of Forgejo', () => {
    const headers = (body: string): WebhookHeaders => ({'x-forgejo-event': 'push', 'x-forgejo-signature': hmac(body)});
    expect(parse(payloads.gitea, headers)).toMatchObject({ok: true, event: 'push'});
  });

  test('reads pushes of GitLab', () => {
    const headers = (event: string) => (): WebhookHeaders => ({'x-gitlab-event': event, 'x-gitlab-token': secret});
    expect(parse(payloads.gitlab, headers('Push Hook'))).toEqual({
      ok: true,
      event: 'push',
      ref: 'refs/heads/master',
      commit: payloads.gitlab.after,
      repositoryUrls: [
        'http://example.com/mike/diaspora.git',
        'git@example.com:mike/diaspora.git',
        'http://example.com/mike/diaspora',
      ],
    });
    expect(parse(payloads.gitlab, headers('System Hook'))).toMatchObject({event: 'push'});
    const tag = {...payloads.gitlab, object_kind: 'tag_push', ref: 'refs/tags/v1.0.0'};
    expect(parse(tag, headers('Tag Push Hook'))).toMatchObject({event: 'tag', ref: 'refs/tags/v1.0.0'});
  });

  test.each([
    ['a tag', {...payloads.github, ref: 'refs/tags/v1'}, 'push', {event: 'tag', commit: after}],
    ['a ping', {zen: 'Design for failure.', hook_id: 1}, 'ping', {event: 'ping'}],
    ['a star', {action: 'created'}, 'star', {event: 'other'}],
    ['a pull request, which has a ref in places', {ref: 'main'}, 'create', {event: 'other'}],
  ])('knows %s', (_, payload, event, expected) => {
    expect(parse(payload, github(event))).toMatchObject({ok: true, ...expected});
  });

  test('has no commit of a branch that was deleted', () => {
    const message = parse({...payloads.github, after: zero, deleted: true}, github('push'));
    expect(message).toMatchObject({ok: true, event: 'push', ref: 'refs/heads/main'});
    expect(message).not.toHaveProperty('commit');
  });

  test.each([
    ['an empty body', '', {ok: true, event: 'push', repositoryUrls: []}],
    ['a ref', {ref: 'refs/heads/main', commit: after}, {event: 'push', ref: 'refs/heads/main', commit: after}],
    ['an empty object', {}, {ok: true, event: 'push'}],
  ])('takes the plain form with %s', (_, payload, expected) => {
    const headers = (body: string): WebhookHeaders => ({'x-tekton-signature-256': `sha256=${hmac(body)}`});
    expect(parse(payload, headers)).toMatchObject(expected);
  });
});

describe('whom it does not believe', () => {
  const right = `sha256=${hmac(JSON.stringify(payloads.github))}`;

  test.each<[string, WebhookHeaders]>([
    ['no signature', {'x-github-event': 'push'}],
    [
      'a signature by another secret',
      {'x-hub-signature-256': `sha256=${hmac(JSON.stringify(payloads.github), 'other')}`},
    ],
    ['the old SHA-1 signature alone', {'x-hub-signature': `sha1=${'a'.repeat(40)}`}],
    ['a signature that is too short', {'x-hub-signature-256': right.slice(0, -2)}],
    ['a signature that is too long', {'x-hub-signature-256': `${right}00`}],
    ['an empty signature', {'x-hub-signature-256': ''}],
    ['a signature without its prefix', {'x-hub-signature-256': right.slice(7)}],
    ['a signature that is no hex', {'x-hub-signature-256': `sha256=${'zz'.repeat(32)}`}],
    ['two signatures in one header', {'x-hub-signature-256': [right, right]}],
    ['one right signature and one wrong', {'x-hub-signature-256': right, 'x-gitea-signature': 'a'.repeat(64)}],
    ['a right signature and a wrong token', {'x-hub-signature-256': right, 'x-gitlab-token': 'guess'}],
    ['a wrong token', {'x-gitlab-token': 'guess'}],
    ['an empty token', {'x-gitlab-token': ''}],
  ])('%s', (_, headers) => {
    const message = parse(payloads.github, () => headers);
    expect(message).toMatchObject({ok: false, status: 401});
    expect(JSON.stringify(message)).not.toContain(secret);
  });

  test('anybody, when the secret is empty', () => {
    const headers = (body: string): WebhookHeaders => ({
      'x-hub-signature-256': `sha256=${hmac(body, '')}`,
      'x-gitlab-token': '',
    });
    expect(parse(payloads.github, headers, '')).toMatchObject({ok: false, status: 401});
  });

  test.each([
    ['half an object', '{"ref": "refs/heads/ma'],
    ['a list', '[]'],
    ['nothing', ''],
    ['null', 'null'],
    ['bytes that are no text', '\u{fffd}\u0000'],
  ])('%s in a signed body is no message', (_, body) => {
    expect(parse(body, github('push'))).toMatchObject({ok: false, status: 400});
  });

  test('texts with line breaks, and objects where texts belong', () => {
    const odd = {...payloads.github, ref: 'refs/heads/x\nforged log line', after: {}, repository: {clone_url: 3}};
    expect(parse(odd, github('push'))).toEqual({ok: true, event: 'other', repositoryUrls: []});
  });

  test('a body beyond the limit, whatever its signature', () => {
    const body = Buffer.alloc(webhookBodyBytes + 1, ' ');
    expect(parseWebhook({headers: {}, body, secret})).toMatchObject({ok: false, status: 413});
  });
});

test.each([
  ['https://github.com/acme/platform.git', ['git@github.com:acme/platform.git'], true],
  ['git@github.com:acme/platform', ['https://github.com/acme/platform.git'], true],
  ['ssh://git@GitHub.com:22/Acme/Platform.git/', ['https://github.com/acme/platform'], true],
  ['https://github.com/acme/platform', ['https://github.com/acme/platform2.git'], false],
  ['https://github.com/acme/platform', ['https://example.com/acme/platform.git'], false],
  ['https://github.com/acme/platform', [], true],
])('%s is what %j names: %s', (url, urls, expected) => {
  expect(namesRepository(url, urls)).toBe(expected);
});
