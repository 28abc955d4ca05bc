import {expect, test} from '@jest/globals';
import {gitNameProblem, gitUrlProblem, shownGitUrl, withoutCredentials} from '../../src/api/git-address.js';

test.each([
  'https://git.example.com/acme/platform.git',
  'https://git@git.example.com:8443/acme/platform.git',
  'http://127.0.0.1:3000/x.git',
  'ssh://git@git.example.com:2222/acme/platform.git',
  'git://git.example.com/x.git',
  'file:///srv/git/x.git',
  'git@github.com:acme/platform.git',
  'github.com:acme/platform.git',
  'git@[::1]:acme/platform.git',
])('%s is an address', url => {
  expect(gitUrlProblem(url)).toBeUndefined();
});

test.each([
  ['', /empty/],
  ['-uhoh', /"-"/],
  ['--upload-pack=touch /tmp/x', /spaces/],
  ['--upload-pack=touch', /"-"/],
  ['ext::sh -c touch%20x', /spaces/],
  ['ext::sh', /ext: is not spoken/],
  ['EXT::sh', /ext: is not spoken/],
  ['fd::17', /fd: is not spoken/],
  ['ftp://x/y', /ftp: is not spoken/],
  ['https::evil', /not spoken/],
  ['git+ssh://x/y', /not spoken/],
  ['javascript://x', /not spoken/],
  ['/srv/git/x.git', /file:\/\/\//],
  ['../x.git', /file:\/\/\//],
  ['~/x', /file:\/\/\//],
  ['file://host/x.git', /file:\/\/\//],
  ['ssh://-oProxyCommand=touch/x', /"-"/],
  ['ssh://-oProxyCommand=touch@host/x', /"-"/],
  ['-oProxyCommand=x:y', /"-"/],
  ['git@-oProxyCommand=x:y', /begins with/],
  ['https://ada:hunter2@example.com/x.git', /password/],
  ['https://ada%3Ahunter2@example.com/x.git', /password/],
  ['https://ghp_0123456789abcdefghijABCDEFGHIJ@example.com/x.git', /token/],
  ['https:///x.git', /no host/],
  ['https://example.com/\n', /control/],
  ['https://example.com/\u0000x', /control/],
])('%j is refused', (url, why) => {
  const problem = gitUrlProblem(url);
  expect(problem).toMatch(why);
  expect(problem).not.toContain('hunter2');
});

test.each(['main', 'feature/x', 'v1.0', 'ümlaut', 'a@b', 'release-2026.1'])('%s is a name', name => {
  expect(gitNameProblem(name)).toBeUndefined();
});

test.each([
  '',
  '-f',
  '--exec=x',
  'a..b',
  'a b',
  'a~1',
  'a^',
  'a:b',
  'a?b',
  'a[b',
  'a\\b',
  '/a',
  'a/',
  'a//b',
  'a.',
  '.a',
  'x/.a',
  'a.lock',
  'a.lock/b',
  '@',
  'a@{1}',
  'a\nb',
  'v1.*',
])('%j is no name', name => {
  expect(gitNameProblem(name)).toBeDefined();
});

test('a pattern may have stars', () => {
  expect(gitNameProblem('v1.*', {pattern: true})).toBeUndefined();
  expect(gitNameProblem('v1.?', {pattern: true})).toBeDefined();
});

test('shows addresses without what is secret', () => {
  expect(shownGitUrl('https://ada:hunter2@example.com/x.git?token=abc')).toBe('https://example.com/x.git');
  expect(shownGitUrl('git@github.com:acme/x.git')).toBe('git@github.com:acme/x.git');
  expect(withoutCredentials("fatal: unable to access 'https://ada:hunter2@example.com/x.git/': no")).toBe(
    "fatal: unable to access 'https://example.com/x.git/': no",
  );
  expect(withoutCredentials('ssh://git:hunter2@example.com/x')).not.toContain('hunter2');
});
