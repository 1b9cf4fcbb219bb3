import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Hashtable;
import java.util.TreeSet;
import javax.naming.NamingEnumeration;
import javax.naming.NamingException;
import javax.naming.directory.Attribute;
import javax.naming.directory.InitialDirContext;

/**
 * Asks through Java: names by InetAddress, which takes the C library, SRV RRsets and the names of
 * addresses by JNDI. Each line has the argument and one answer.
 */
public class Resolve {
    private static void ask(InitialDirContext context, String asked, String name, String type)
            throws NamingException {
        Attribute found = context.getAttributes(name, new String[] {type}).get(type);
        if (found == null) {
            System.out.println(asked + ": none");
            return;
        }
        NamingEnumeration<?> all = found.getAll();
        while (all.hasMore()) {
            System.out.println(asked + ": " + all.next());
        }
    }

    private static String reverse(String address) {
        String[] octets = address.split("\\.");
        return octets[3] + "." + octets[2] + "." + octets[1] + "." + octets[0] + ".in-addr.arpa";
    }

    private static void names(String asked) {
        try {
            TreeSet<String> found = new TreeSet<>();
            for (InetAddress address : InetAddress.getAllByName(asked)) {
                found.add(address.getHostAddress());
            }
            for (String address : found) {
                System.out.println(asked + ": " + address);
            }
        } catch (UnknownHostException error) {
            System.out.println(asked + ": " + error.getMessage());
        }
    }

    public static void main(String[] arguments) throws NamingException {
        Hashtable<String, String> options = new Hashtable<>();
        options.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
        options.put("java.naming.provider.url", "dns:");
        InitialDirContext context = new InitialDirContext(options);
        for (String asked : arguments) {
            try {
                if (asked.startsWith("_")) {
                    ask(context, asked, asked, "SRV");
                } else if (asked.matches("[0-9.]+")) {
                    ask(context, asked, reverse(asked), "PTR");
                } else {
                    names(asked);
                }
            } catch (NamingException error) {
                System.out.println(asked + ": " + error.getMessage());
            }
        }
    }
}
