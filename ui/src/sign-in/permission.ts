import { useQuery } from '@tanstack/react-query';

import { sessionQuery, type Permission } from './session';

/** Why the person may not do something; undefined when they may. The server decides: this saves them the attempt. */
export function usePermission(permission: Permission): string | undefined {
  const { data } = useQuery(sessionQuery);
  // While they are asked to sign in again, the page stays as it is.
  if (!data?.principal || data.principal.permissions.includes(permission)) return undefined;
  return `This needs the permission ${permission}, which an owner of this installation can give.`;
}
