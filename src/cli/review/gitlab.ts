/** A review as GitLab's code quality report: annotations in the diff of a merge request. */
import type {Review} from './review.js';
import {findingsOf, fingerprintOf, numberOf} from './sarif.js';

/** https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format */
export interface QualityIssue {
  readonly description: string;
  readonly check_name: string;
  readonly fingerprint: string;
  readonly severity: 'info' | 'minor' | 'major';
  readonly location: {readonly path: string; readonly lines: {readonly begin: number}};
}

const severities = {note: 'info', warning: 'minor', error: 'major'} as const;

/** What is in no file can't be in it: its format wants a path. */
export function qualityIssues(review: Review): readonly QualityIssue[] {
  const findings = findingsOf(review);
  return findings.flatMap((finding, index) => {
    const {place, message, rule, level} = finding;
    if (place === undefined) return [];
    return [
      {
        description: message,
        check_name: `tekton-ai/${rule}`,
        fingerprint: fingerprintOf(finding, numberOf(finding, findings.slice(0, index))),
        severity: severities[level],
        location: {path: place.file, lines: {begin: place.line ?? 1}},
      },
    ];
  });
}
