/** Why a message could not be delivered, in words that hold no secret, and whether another try may help. */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  readonly retry: boolean;
  /** The receiver's own word on when. */
  readonly afterMs: number | undefined;

  constructor(message: string, {retry, afterMs}: {readonly retry: boolean; readonly afterMs?: number | undefined}) {
    super(message);
    this.retry = retry;
    this.afterMs = afterMs;
  }
}
