/** An address as it may be shown: without user name, password and query. What isn't a URL is shown as no more than that. */
export function displayUrl(url: string): string {
  try {
    const {protocol, host, pathname} = new URL(url);
    return `${protocol}//${host}${pathname}`.replace(/\/+$/, '');
  } catch {
    return '(not a URL)';
  }
}
