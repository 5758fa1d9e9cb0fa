// What is said while there is no connection.

import { useConnectionStatus, useLostConnection } from "@rowcast/react";

/** Says so when the page is offline, or the server has been away for five seconds. */
export function Banner() {
  const { isOnline } = useConnectionStatus();
  const isLost = useLostConnection();
  return (
    <div role="status">
      {(!isOnline || isLost) && (
        <p className="banner">
          {isOnline ? "The server does not answer." : "You are offline."} You may go on: your changes are sent, and
          those of others shown, when you are back.
        </p>
      )}
    </div>
  );
}
