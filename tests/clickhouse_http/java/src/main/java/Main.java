import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** Reads through the ClickHouse HTTP endpoint with the official JDBC driver; the argument is its port. */
public class Main {
  public static void main(String[] arguments) throws Exception {
    for (String options : new String[] {"", "?compress=0", "?client.use_http_compression=true&compress=1"}) {
      String url = "jdbc:clickhouse://127.0.0.1:" + arguments[0] + "/default" + options;
      try (Connection connection = DriverManager.getConnection(url, "default", "");
          Statement statement = connection.createStatement()) {
        try (ResultSet rows = statement.executeQuery("SELECT n, s, l FROM t WHERE n IN (1, 2) ORDER BY n")) {
          while (rows.next()) {
            System.out.println(rows.getLong(1) + " " + rows.getString(2) + " " + rows.getString(3));
          }
        }
        try (PreparedStatement prepared = connection.prepareStatement("SELECT count() FROM t WHERE n > ?")) {
          prepared.setInt(1, 10);
          ResultSet rows = prepared.executeQuery();
          rows.next();
          System.out.println(rows.getLong(1));
        }
        try (ResultSet rows = statement.executeQuery("SELECT n FROM t WHERE n > 100000")) {
          System.out.println(rows.getMetaData().getColumnName(1) + " " + rows.next());
        }
        try (ResultSet rows = statement.executeQuery("SELECT number FROM numbers(300000)")) {
          long total = 0;
          while (rows.next()) {
            total += rows.getLong(1);
          }
          System.out.println(total);
        }
        try (ResultSet rows = connection.getMetaData().getColumns(null, "spanhouse", "t", null)) {
          int columns = 0;
          while (rows.next()) {
            columns++;
          }
          System.out.println(columns);
        }
        try {
          statement.executeQuery("SELECT * FROM file('/etc/passwd')");
        } catch (SQLException error) {
          System.out.println(error.getMessage().contains("not allowed"));
        }
      }
    }
  }
}
