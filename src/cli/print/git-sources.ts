/** Git sources as tables and documents. */
import {shownGitUrl} from '../../api/git-address.js';
import type {GitRef} from '../../api/git-source.js';
import {apiVersion} from '../../api/types.js';
import {refText} from '../git-source-view.js';
import type {GitSourceView} from '../git-source-view.js';
import {qualifiedName} from '../view.js';
import {ageText} from './amounts.js';
import {tableText} from './table.js';

/** @param now milliseconds since 1970 */
export function gitSourcesTable(views: readonly GitSourceView[], {wide, now}: {wide: boolean; now: number}): string {
  const head = ['NAME', 'URL', 'REF', 'REVISION', 'READY', 'REASON', 'AGE'];
  const more = ['PATH', 'FLEETS', 'COMMIT', 'MESSAGE'];
  const rows = views.map(({record, status}) => [
    qualifiedName(record),
    shownGitUrl(record.spec.url),
    refText(record.spec.ref),
    status?.revision?.slice(0, 7) ?? '<none>',
    status?.ready ?? 'Unknown',
    status?.reason ?? '<none>',
    status === undefined ? '<none>' : ageText(status.since, now),
    ...(wide
      ? [
          record.spec.path,
          status?.fleets.join(',') || '<none>',
          status?.subject ?? '<none>',
          status?.message ?? 'nobody has looked at it yet',
        ]
      : []),
  ]);
  return tableText(wide ? [...head, ...more] : head, rows);
}

/** As people declare it, with what is said of it. Secrets are in it as references only. */
export function gitSourceDocument({record, status}: GitSourceView) {
  const {name, namespace, spec, suspendedAt, stoppedAt, expiresAt, pinned} = record;
  const {ref, verify, ...rest} = spec;
  return {
    apiVersion,
    kind: 'GitSource' as const,
    metadata: {name, namespace},
    spec: {...rest, ...refFields(ref), ...(verify && {verify})},
    status: {
      ...(status ?? {ready: 'Unknown' as const}),
      ...(suspendedAt !== undefined && {suspendedAt}),
      ...(stoppedAt !== undefined && {stoppedAt}),
      ...(expiresAt !== undefined && {expiresAt}),
      ...(pinned && {pinned}),
    },
  };
}

function refFields(ref: GitRef) {
  switch (ref.type) {
    case 'default':
      return {};
    case 'branch':
      return {branch: ref.name};
    case 'tag':
      return {tag: ref.pattern};
    case 'commit':
      return {commit: ref.commit};
  }
}
