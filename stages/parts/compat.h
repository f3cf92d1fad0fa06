/* compat.h - constants that are newer than liburing 2.3 (Debian 12). */
#ifndef COMPAT_H
#define COMPAT_H

#ifndef IORING_SEND_ZC_REPORT_USAGE /* Linux 6.2 */
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

#endif
