import {exitCodes} from '../../api/errors.js';
import {apiVersion} from '../../api/types.js';
import {findController} from '../../registry/controller-record.js';
import type {Command} from '../context.js';
import {selectGitSources} from '../git-source-view.js';
import type {SourcesOptions} from '../options.js';
import {write, writeJson, writeLine, writeYaml} from '../output.js';
import {gitSourceDocument, gitSourcesTable} from '../print/git-sources.js';
import {qualifiedName} from '../view.js';

/** The git sources that are followed here, and how each stands. */
export const run: Command<SourcesOptions> = async (context, names, {output, ...scope}) => {
  const {home, stdout, stderr} = context;
  const views = await selectGitSources(home, names, scope);
  const documents = () => views.map(gitSourceDocument);
  const one = names.length === 1;
  const all = () => (one ? documents()[0] : {apiVersion, kind: 'List', items: documents()});
  switch (output) {
    case 'json':
      await writeJson(stdout, all());
      break;
    case 'yaml':
      await writeYaml(stdout, all());
      break;
    case 'name':
      for (const {record} of views) await writeLine(stdout, `gitsource/${qualifiedName(record)}`);
      break;
    case 'table':
    case 'wide':
      if (views.length === 0) await writeLine(stderr, 'no git source is followed here');
      else await write(stdout, gitSourcesTable(views, {wide: output === 'wide', now: Date.now()}));
  }
  for (const {record, status} of views) {
    if (status?.ready === 'False') {
      await writeLine(stderr, `git source ${qualifiedName(record)}: ${status.reason}: ${status.message}`);
    }
  }
  if (views.length > 0 && !(await findController(home))) {
    await writeLine(stderr, 'no controller is running: no git source is followed; start one with: tekton-ai up');
  }
  return exitCodes.ok;
};
