/* Prints the addresses of a name, one a line, as the C library's getaddrinfo
 * finds them; or its error. Built with musl, statically, by live_resolvers.rs. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct addrinfo hints, *found, *at;
    char text[INET6_ADDRSTRLEN];

    if (argc != 2)
        return 2;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    int error = getaddrinfo(argv[1], NULL, &hints, &found);
    if (error) {
        printf("%s\n", error == EAI_NONAME ? "EAI_NONAME" : gai_strerror(error));
        return 1;
    }
    for (at = found; at; at = at->ai_next) {
        const void *address = at->ai_family == AF_INET
            ? (const void *)&((struct sockaddr_in *)at->ai_addr)->sin_addr
            : (const void *)&((struct sockaddr_in6 *)at->ai_addr)->sin6_addr;
        printf("%s\n", inet_ntop(at->ai_family, address, text, sizeof text));
    }
    freeaddrinfo(found);
    return 0;
}
